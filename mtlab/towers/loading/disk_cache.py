"""What is slow to learn of a tower (a file's digest, a model's shape), kept in the cache folder by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError
from mtlab.towers.base import TowerInfo


def content_hash(data: Any) -> str:
    """Hash plain data, 32 hex digits: equal for equal content, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def cached(subject: str, key: Any, learn: Callable[[], Any]) -> Any:
    """Return `learn()`, plain data, or what it returned last time for the same `key`.

    One small file per fact, so that processes that learn different facts at once do not undo each other.
    """
    path = files.cache_root() / "facts" / f"{subject}-{content_hash(key)}.json"
    try:
        kept = files.read_json(path)
        if kept["key"] == key:
            return kept["fact"]
    except (OSError, UserError, KeyError, TypeError):
        pass  # not known yet, or damaged: learnt anew
    fact = learn()
    with suppress(UserError):  # a cache that cannot be written costs time, not the answer
        files.write_json(path, {"key": key, "fact": fact})
    return fact


def cached_tower_info(subject: str, key: Any, libraries: Iterable[str], learn: Callable[[], TowerInfo]) -> TowerInfo:
    """`cached` for a tower's description, which also depends on the versions of `libraries`."""
    versioned = {"options": key, "versions": {library: library_version(library) for library in libraries}}
    fact = cached(subject, versioned, lambda: vars(learn()))
    return TowerInfo(**{**fact, "widths": tuple(fact["widths"])})


def library_version(library: str) -> str:
    """Return the version of an installed library, without importing it."""
    return metadata.version(library)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time.

    Raises:
        UserError: it is missing or cannot be read.

    """
    try:
        status = path.stat()
        key = [str(path.resolve()), status.st_size, status.st_mtime_ns]
        return str(cached("digest", key, lambda: files.sha256(path)))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None


def files_digest(paths: Iterable[Path]) -> str:
    """One digest for several files, by name and content."""
    return content_hash({path.name: file_digest(path) for path in paths})
