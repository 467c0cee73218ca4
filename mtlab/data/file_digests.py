"""The content of a folder's files as one digest; files that have not changed are not read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.config.hashing import digest
from mtlab.errors import UserError

MANY = 500  #: so many files take more than a second or two: progress is shown


def content_digest(folder: Path, names: Collection[str], check: Callable[[Path], None] = lambda _: None) -> str:
    """Hash files by name and content; where the folder lies makes no difference.

    A file's own hash is kept in the cache folder by path, size and time of modification, so that only new and changed
    files are read.

    Args:
        folder: where they lie.
        names: their paths below it.
        check: called with the path of each file that is new or changed; may raise.

    Raises:
        UserError: a file is missing or cannot be read, or what `check` raises.

    """
    store = files.cache_root() / "facts" / f"files-{digest(str(folder.resolve()), 32)}.json"
    known = _known(store)
    index: dict[str, list[Any]] = {}
    fresh: list[str] = []
    for name in sorted(names):
        stamp = _stamp(folder / name)
        entry = known.get(name)
        if isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3:
            index[name] = entry
        else:
            index[name] = [*stamp, ""]
            fresh.append(name)
    for name in _shown(fresh, f"reading files of {folder.name}"):
        check(folder / name)
        index[name][2] = _hash(folder / name)
    if fresh:
        with suppress(UserError):  # a cache that cannot be written costs time, not the answer
            files.write_json(store, {"folder": str(folder), "files": {**known, **index}})
    return digest({name: entry[2] for name, entry in index.items()}, 32)


def _known(store: Path) -> Mapping[str, Any]:
    try:
        found = files.read_json(store)["files"]
    except (OSError, UserError, KeyError, TypeError):
        return {}  # not known yet, or damaged: learnt anew
    return found if isinstance(found, dict) else {}


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    return [status.st_size, status.st_mtime_ns]


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None


def _shown(names: Sequence[str], what: str) -> Sequence[str]:
    """Show progress over many files, on the error stream: what a command prints stays clean."""
    if len(names) < MANY:
        return names
    from rich.console import Console
    from rich.progress import track

    return track(names, what, console=Console(stderr=True), transient=True)  # type: ignore[return-value]
