"""The size limit of the expert cache: the least recently used entries are evicted first, none that is in use."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from pathlib import Path

from mtlab.data.cache.locks import LOCKS, QUARANTINE, try_lock
from mtlab.errors import UserError

LIMIT_VARIABLE = "MTLAB_CACHE_LIMIT_GB"
DEFAULT_GB = 20.0

logger = logging.getLogger(__name__)


def limit_bytes() -> int:
    """Return the size limit in bytes, from the environment.

    Raises:
        UserError: the variable is not a positive number.

    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = 0.0
    if not 0.0 < gigabytes < float("inf"):
        raise UserError(f"expected gigabytes, a number above 0, found {text!r}", key=LIMIT_VARIABLE)
    return int(gigabytes * 1e9)


def evict(folder: Path, limit: int) -> list[str]:
    """Remove entries until the rest is within the limit; return the names of those removed.

    Args:
        folder: of the entries.
        limit: bytes.

    """
    entries = list_by_last_use(folder)
    excess = sum(size for _, size in entries) - limit
    removed: list[str] = []
    for path, size in entries:
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
            LIMIT_VARIABLE,
        )
    return removed


def list_by_last_use(folder: Path) -> list[tuple[Path, int]]:
    """List the entries with their bytes in the order of eviction: quarantined ones, then by time of last use."""
    if not folder.is_dir():
        return []
    sizes = {path: folder_size(path) for path in folder.iterdir() if path.is_dir() and path.name != LOCKS}
    return [(path, sizes[path]) for path in sorted(sizes, key=_last_used)]


def remove_unused(path: Path) -> bool:
    """Remove an entry unless it is in use; return True if it was removed."""
    with try_lock(path.parent / LOCKS / path.name) as free:
        return free and _remove(path)


def _last_used(path: Path) -> tuple[bool, float]:
    """Sort key: quarantined first, then by time of last use."""
    try:
        return path.name != QUARANTINE, (path / "used").stat().st_mtime
    except OSError:
        return path.name != QUARANTINE, 0.0


def folder_size(path: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue  # replaced or removed by its owner meanwhile
    return total


def _remove(path: Path) -> bool:
    """Rename, then delete, so that no process finds half an entry."""
    doomed = path.with_name(f".evicted-{secrets.token_hex(4)}")  # if this process is killed now, it is evicted next
    try:
        path.rename(doomed)
    except OSError:
        return False  # gone already
    shutil.rmtree(doomed, ignore_errors=True)
    return True
