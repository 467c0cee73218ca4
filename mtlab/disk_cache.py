"""A cache on disk of facts that are slow to compute, such as a file's digest or a model's cost. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError


def content_hash(data: Any) -> str:
    """Hash plain data, 32 hex digits: equal for equal content, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load_or_compute(subject: str, key: Any, compute: Callable[[], Any]) -> Any:
    """Return `compute()`, which is plain data, or its cached result for the same `key`.

    Each fact has a file of its own, so that concurrent processes do not overwrite each other's.
    """
    key = json.loads(json.dumps(key))  # as it is read back: a tuple as a list
    path = files.cache_root() / "facts" / f"{subject}-{content_hash(key)}.json"
    try:
        stored = files.read_json(path)
        if stored["key"] == key:
            return stored["fact"]
    except (OSError, UserError, KeyError, TypeError):
        pass  # missing or damaged: computed again
    fact = compute()
    with suppress(UserError):  # a cache that cannot be written costs time, not the answer
        files.write_json(path, {"key": key, "fact": fact})
    return fact


@lru_cache
def library_version(library: str) -> str:
    """Return the version of an installed library, without importing it."""
    return metadata.version(library)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, cached by path, size and modification time.

    Raises:
        UserError: it is missing or cannot be read.

    """
    try:
        status = path.stat()
        key = [str(path.resolve()), status.st_size, status.st_mtime_ns]
        return str(load_or_compute("digest", key, lambda: files.sha256(path)))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None


def files_digest(paths: Iterable[Path]) -> str:
    """Return one digest of several files, by name and content."""
    return content_hash({path.name: file_digest(path) for path in paths})
