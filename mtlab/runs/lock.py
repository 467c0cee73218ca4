"""One worker per run: a lock whose heartbeat others watch on their own clock.

`lock.json` in the run directory says who holds the run, and counts. Nobody compares wall clocks: an observer calls a
lock stale when it sees the same bytes for `patience` seconds on its own monotonic clock, or at once when the holder's
process is known to be gone (same host, same boot, same process namespace). Taking, taking over and releasing happen
under a file lock on a guard file beside the run directory, so that of two that take over at once exactly one wins; the
kernel drops the guard when its holder dies. The holder beats in place, into the file that it made itself: one that was
taken for dead and wakes up writes into a file that nobody reads any more, notices, and ends.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

from mtlab import files
from mtlab.errors import UserError
from mtlab.processes import EXIT_LOCKED, LAUNCHER, Process, current_process

INTERVAL = 1.0  #: seconds between beats
PATIENCE = 30.0  #: seconds without a beat after which a lock is stale

LockState = Literal["free", "live", "unsure", "stale"]


class LockedError(UserError):
    """Another process works on the run; the worker exits with `EXIT_LOCKED`."""


def lock_path(run: Path) -> Path:
    """Return the lock of the run directory `run`."""
    return run / "lock.json"


def parse_holder(raw: bytes | None) -> Process | None:
    """Read who holds a lock from its bytes; None if there is none or it cannot be read."""
    if raw is None:
        return None
    try:
        return Process.from_json(json.loads(raw))
    except ValueError:
        return None


def read_lock(run: Path) -> bytes | None:
    """Return the lock's bytes, or None if nobody holds the run."""
    try:
        return lock_path(run).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


class LockWatch:
    """What one observer has seen of one run's lock; call `look` every so often.

    Args:
        run: the run directory.
        patience: seconds for which the lock's bytes must stand still to make it stale.

    """

    def __init__(self, run: Path, patience: float = PATIENCE) -> None:
        self.run = run
        self.patience = patience
        self.raw: bytes | None = None
        self._since: float | None = None
        self._beaten = False

    @property
    def holder(self) -> Process | None:
        """Who held the run at the last look."""
        return parse_holder(self.raw)

    def look(self) -> LockState:
        """Look again: free, live (seen to beat), unsure (not yet seen for long enough), or stale."""
        raw, now = read_lock(self.run), time.monotonic()
        if raw is None:
            self.raw, self._since, self._beaten = None, None, False
            return "free"
        known = parse_holder(raw)
        if known is not None and known.alive() is False:
            self.raw = raw
            return "stale"
        if raw != self.raw or self._since is None:
            before = self.holder
            self._beaten = before is not None and before == known
            self.raw, self._since = raw, now
        if now - self._since >= self.patience:
            return "stale"
        return "live" if self._beaten else "unsure"

    def clear(self) -> bool:
        """Remove the lock that the last look found stale; False if it is another by now.

        A holder of this very host that stands still (stopped, hung) is killed first: it must not wake up and write
        beside its successor.
        """
        with guard(self.run):
            return self._clear()

    def _clear(self) -> bool:
        if read_lock(self.run) != self.raw:
            return False
        if self.holder is not None:
            self.holder.kill()
        lock_path(self.run).unlink(missing_ok=True)
        return True


def lock_state(run: Path) -> LockState:
    """Judge a lock by a single look: a holder of another host cannot be judged so, and is `unsure`."""
    raw = read_lock(run)
    if raw is None:
        return "free"
    known = parse_holder(raw)
    alive = known.alive() if known is not None else None
    return "unsure" if alive is None else "live" if alive else "stale"


@contextmanager
def guard(run: Path) -> Iterator[None]:
    """Hold the guard of a run for a moment, waiting for others who do.

    Raises:
        UserError: the file system has no file locks, or may not be written.

    """
    path = run.parent / f".{run.name}.guard"
    with files.explain_disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        # Unlock by word: a process forked meanwhile shares the descriptor, and would keep the guard.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise UserError("this file system has no file locks: choose another --store", file=path) from error
        raise
    finally:
        os.close(descriptor)


def _die(run: Path) -> None:
    print(f"mtlab: {run} was taken over by another worker; stopping here", file=sys.stderr, flush=True)
    os._exit(EXIT_LOCKED)


class RunLock:
    """Hold a run for as long as the `with` block lasts, beating in a daemon thread.

    On entry it waits until it is clear whether another holder lives (one beat, or `patience` seconds without), and
    removes half-written files of a dead predecessor. If the launcher that started this worker dies (its pid is in the
    environment), the worker is told to stop by SIGTERM, so that nothing goes on unseen.

    Args:
        run: the run directory.
        interval: seconds between beats.
        patience: seconds without a beat after which another's lock is stale.
        lost: called from the beating thread if the run was taken over, as happens to a process stopped for long;
            by default it ends the process at once.

    Raises:
        LockedError: another process works on the run.

    """

    def __init__(
        self,
        run: Path,
        *,
        interval: float = INTERVAL,
        patience: float = PATIENCE,
        lost: Callable[[Path], None] = _die,
    ) -> None:
        self.run = run
        self.interval = interval
        self.patience = patience
        self._lost = lost
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._descriptor = -1
        self._beat = 0
        self._me = {**current_process().to_json(), "token": secrets.token_hex(8)}

    def __enter__(self) -> RunLock:
        watch = LockWatch(self.run, self.patience)
        while not self._take(watch):
            time.sleep(self.interval / 4)
        for folder in (self.run, self.run / "checkpoints"):
            files.remove_leftovers(folder)
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with guard(self.run):
            if self.held():
                lock_path(self.run).unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def held(self) -> bool:
        """Is the lock still ours? Ask before writing what a successor must not find."""
        try:
            there = lock_path(self.run).stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _take(self, watch: LockWatch) -> bool:
        """Take the lock if it is free or stale; False if that is not clear yet."""
        with guard(self.run):
            seen = watch.look()
            if seen == "live":
                who = watch.holder
                raise LockedError(
                    f"is being worked on{f' by {who}' if who else ''}: wait for it, or stop it", file=self.run
                )
            if seen == "unsure" or (seen == "stale" and not watch._clear()):
                return False
            scratch = self.run / f"{files.TEMPORARY}{self._me['token']}-lock.json"
            with files.explain_disk_errors(lock_path(self.run)):
                self._descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                self._write()
                os.replace(scratch, lock_path(self.run))
            return True

    def _write(self) -> None:
        """Write the next beat in place: the same number of bytes each time, so that a full disk cannot stop it."""
        self._beat += 1
        text = json.dumps({**self._me, "beat": self._beat})
        os.pwrite(self._descriptor, text.ljust(400).encode() + b"\n", 0)
        os.fsync(self._descriptor)  # makes it visible to other hosts at once

    def _keep_beating(self) -> None:
        launcher = os.environ.get(LAUNCHER)
        told = False
        while not self._stop.wait(self.interval):
            if not self.held():
                self._lost(self.run)
                return
            with suppress(OSError):  # a beat missed is made up by the next; others give us `patience`
                self._write()
            if launcher and not told and os.getppid() != int(launcher):
                told = True
                os.kill(os.getpid(), signal.SIGTERM)
