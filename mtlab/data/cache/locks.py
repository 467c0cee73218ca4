"""Locks of the expert cache. The kernel holds them: a process that is killed lets go of all of its own at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtlab import files

LOCKS = "locks"  #: beside the entries; lock files are never removed, so that all mean the same file by a name
QUARANTINE = "quarantine"  #: beside the entries: what was found damaged


class SharedLock:
    """A shared hold on an entry: as long as it lasts, the entry is not evicted."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self._descriptor = _opened(path)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Let go; once is enough."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Try to hold a lock alone, without waiting: True inside if nobody else holds it in any way."""
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    with files.explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
