"""Hashes of the contents of a folder's files, and one digest of all; unchanged files are not read again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.config.hashing import digest
from mtlab.data.progress import track
from mtlab.errors import UserError

FEW = 200  #: files, which take a second or two if they are pictures


def content_digest(folder: Path, names: Collection[str], check: Callable[[Path], None] = lambda _: None) -> str:
    """Hash files by name and content, independently of the folder's path; see `content_hashes`."""
    return digest(content_hashes(folder, names, check), 32)


def content_hashes(
    folder: Path, names: Collection[str], check: Callable[[Path], None] = lambda _: None
) -> dict[str, str]:
    """Hash each file's content: its name → its SHA-256.

    It is cached by path, size and modification time, so that only new and changed files are read.

    Args:
        folder: of the files.
        names: their paths below it.
        check: called with the path of each file that is new or changed; may raise.

    Raises:
        UserError: a file is missing or cannot be read, or what `check` raises.

    """
    cache = files.cache_root() / "facts" / f"files-{digest(str(folder.resolve()), 32)}.json"
    cached = _read_cache(cache)
    index: dict[str, list[Any]] = {}
    fresh: dict[str, list[int]] = {}
    for name in sorted(names):
        stamp = _stamp(folder / name)
        entry = cached.get(name)
        if isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3:
            index[name] = entry
        else:
            fresh[name] = stamp
    try:
        for name in track(fresh, f"reading files of {folder.name}", len(fresh), few=FEW):
            check(folder / name)
            index[name] = [*fresh[name], _hash(folder / name)]
    finally:  # what was read before an error, or before Ctrl-C, is not read again
        if fresh:
            with suppress(UserError):  # a cache that cannot be written costs time, not the answer
                files.write_json(cache, {"folder": str(folder), "files": {**cached, **index}})
    return {name: entry[2] for name, entry in index.items()}


def _read_cache(cache: Path) -> Mapping[str, Any]:
    try:
        stored = files.read_json(cache)["files"]
    except (OSError, UserError, KeyError, TypeError):
        return {}  # missing or damaged: computed again
    return stored if isinstance(stored, dict) else {}


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    return [status.st_size, status.st_mtime_ns]


def _hash(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
