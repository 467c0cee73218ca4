"""A sweep's storage as a file: Optuna's journal, written so that no killed writer can damage it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from mtlab import files
from mtlab.errors import UserError
from mtlab.runs.lock import guard

FILE = "journal.jsonl"  #: in the sweep's folder
LAUNCHERS = "launchers"  #: folder in the sweep's folder, with a locked file for each live launcher


class JournalFile(BaseJournalBackend):
    """Optuna's journal file, in its own format.

    It is written under a lock of the kernel, which is released when its holder is killed. Half a line that a killed
    writer left is removed, and a batch is synced to the disk once.

    Args:
        path: the file.
        create: create it if it is missing. Otherwise one that must not be written is opened for reading.

    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        with files.explain_disk_errors(path):
            try:
                self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                if create or error.errno not in (errno.EROFS, errno.EACCES):
                    raise
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._reader = JournalFileBackend(str(path))
        self._thread = threading.Lock()  # the kernel's lock is the process's: threads of a dashboard share it
        self._batches = 0

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the logs from a number on."""
        yield from self._reader.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._thread, files.explain_disk_errors(self.path):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                self._remove_partial_line()
                if os.write(self._descriptor, text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                if not self._batches:
                    os.fsync(self._descriptor)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Sync to the disk once at the end, instead of after every line."""
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _remove_partial_line(self) -> None:
        """Remove a line without an end: Optuna would read on from its middle for ever."""
        size = os.fstat(self._descriptor).st_size
        if not size or os.pread(self._descriptor, 1, size - 1) == b"\n":
            return
        content = os.pread(self._descriptor, size, 0)
        os.ftruncate(self._descriptor, content.rfind(b"\n") + 1)


class JournalSweepStorage:
    """A sweep's journal, see `SweepStorage`.

    Args:
        folder: the sweep's folder in the store.
        create: create the journal if it is missing.

    Raises:
        UserError: it is missing, damaged, or cannot be written.

    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        path = folder / FILE
        if not create and not path.is_file():
            raise UserError("the sweep has not begun: it has no journal", file=folder)
        with files.explain_disk_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
        self.journal = JournalFile(path, create=create)
        try:
            self.optuna_storage = JournalStorage(self.journal)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            self.journal.close()
            raise UserError(f"is no journal that can be read ({error}): it was changed by hand", file=path) from None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold a file lock, see `SweepStorage.exclusive`."""
        with guard(self.folder / "search"), self.batch():
            yield

    def batch(self) -> AbstractContextManager[None]:
        """Sync once, see `SweepStorage.batch`."""
        return self.journal.batch()

    @contextmanager
    def register_launcher(self, token: str) -> Iterator[None]:
        """Hold a locked file, see `SweepStorage.register_launcher`."""
        path = self.folder / LAUNCHERS / token
        with files.explain_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def launcher_is_gone(self, token: str) -> bool:
        """Test whether its file is locked, see `SweepStorage.launcher_is_gone`."""
        path = self.folder / LAUNCHERS / token
        try:
            descriptor = _open_to_lock(path)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        with suppress(OSError):  # another removed it, or the store is read-only
            path.unlink()
        return True

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()


def _open_to_lock(path: Path) -> int:
    """Open a file for writing, as NFS locks none other exclusively; for reading alone where the store is read-only."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
