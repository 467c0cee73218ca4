"""Keeping the expert cache within its size: the entries least recently used go first, none that is in use."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from pathlib import Path

from mtlab.data.cache.locks import LOCKS, QUARANTINE, try_lock
from mtlab.errors import UserError

VARIABLE = "MTLAB_CACHE_LIMIT_GB"
DEFAULT_GB = 20.0

logger = logging.getLogger(__name__)


def limit_bytes() -> int:
    """Return the largest size of the cache, from the environment.

    Raises:
        UserError: the variable holds no positive number.

    """
    text = os.environ.get(VARIABLE, "").strip()
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = 0.0
    if not 0.0 < gigabytes < float("inf"):
        raise UserError(f"expected gigabytes, a number above 0, found {text!r}", key=VARIABLE)
    return int(gigabytes * 1e9)


def evict(folder: Path, limit: int) -> list[str]:
    """Remove entries until the rest fits, damaged leftovers first; return the names of those removed.

    Args:
        folder: where the entries lie.
        limit: bytes that may stay.

    """
    found = by_last_use(folder)
    excess = sum(size for _, size in found) - limit
    removed: list[str] = []
    for path, size in found:
        if excess <= 0:
            break
        if remove_unused(path):
            excess -= size
            removed.append(path.name)
    if removed:
        logger.info("expert cache: removed %d entries to stay within %.1f GB", len(removed), limit / 1e9)
    if excess > 0:
        logger.warning(
            "expert cache: %.1f GB over its limit of %.1f GB, all of it in use: raise %s",
            excess / 1e9,
            limit / 1e9,
            VARIABLE,
        )
    return removed


def by_last_use(folder: Path) -> list[tuple[Path, int]]:
    """List the entries with their bytes, the first to go first: damaged leftovers, then those longest unused."""
    if not folder.is_dir():
        return []
    sizes = {path: size_of(path) for path in folder.iterdir() if path.is_dir() and path.name != LOCKS}
    return [(path, sizes[path]) for path in sorted(sizes, key=_last_used)]


def remove_unused(path: Path) -> bool:
    """Remove an entry that nobody holds; say whether that was done."""
    with try_lock(path.parent / LOCKS / path.name) as free:
        return free and _remove(path)


def _last_used(path: Path) -> tuple[bool, float]:
    """Sort key: what was damaged first, then by time of last use."""
    try:
        return path.name != QUARANTINE, (path / "used").stat().st_mtime
    except OSError:
        return path.name != QUARANTINE, 0.0


def size_of(path: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue  # replaced or removed by its owner meanwhile
    return total


def _remove(path: Path) -> bool:
    """Rename, then delete: nobody may come upon half an entry."""
    doomed = path.with_name(f".evicted-{secrets.token_hex(4)}")  # if we are killed now, it is the next to go
    try:
        path.rename(doomed)
    except OSError:
        return False  # gone already
    shutil.rmtree(doomed, ignore_errors=True)
    return True
