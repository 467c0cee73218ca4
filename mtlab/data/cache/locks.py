"""Locks of the expert cache. The kernel holds them: a process that is killed releases all of its own at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtlab import files

LOCKS = "locks"  #: folder beside the entries; lock files are never removed, so that a name is always the same file
QUARANTINE = "quarantine"  #: folder beside the entries, of damaged files


class SharedLock:
    """A shared lock on an entry, which prevents its eviction."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self._descriptor = _open(path)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Release the lock; more than once does no harm."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Try to take an exclusive lock without waiting; yield False if another process has locked it in any way."""
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with files.explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
