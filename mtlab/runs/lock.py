"""The lock of a run, held by its one worker, whose heartbeat others watch on their own clock.

`lock.json` in the run directory names its holder and counts heartbeats. No wall clocks are compared: a lock is stale
for an observer that sees the same bytes for `patience` seconds on its own monotonic clock, or at once when the holder's
process is known to have ended (same machine and pid namespace, or before its last boot), or has another file open: then
the run was copied while it was trained. Acquiring and releasing happen under a file
lock on a guard file beside the run directory, so that of two that take over at once exactly one wins. The kernel drops
the guard when its holder dies. The holder writes heartbeats in place, into the file that it created: a holder that was
taken for dead and wakes up writes into a file that nobody reads any more, notices that, and ends. Until it has noticed,
it changes nothing else either: its process changes files of the run only under the guard, while the lock is its own.

docs/reliability.md has the states and transitions; tests/faults/run_protocol.py explores their interleavings.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
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
    """Parse the holder from a lock's bytes; None if there is none, or it cannot be parsed."""
    if raw is None:
        return None
    try:
        return Process.from_json(json.loads(raw))
    except ValueError:
        return None


def refresh(run: Path) -> None:
    """Have a network's disk ask anew which files a run has: NFS takes what was absent for absent, up to a minute.

    To open a folder makes it ask (close-to-open, nfs(5)).
    """
    with suppress(OSError):
        os.close(os.open(run, os.O_RDONLY | os.O_DIRECTORY))


def read_lock(run: Path) -> bytes | None:
    """Return the lock's bytes, or None if nobody holds the run."""
    try:
        return lock_path(run).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


class LockWatch:
    """One observer's view of one run's lock; call `observe` regularly.

    Args:
        run: the run directory.
        patience: seconds without a change of the lock's bytes after which it is stale.

    """

    def __init__(self, run: Path, patience: float = PATIENCE) -> None:
        self.run = run
        self.patience = patience
        self.raw: bytes | None = None
        self._since: float | None = None
        self._beaten = False

    @property
    def holder(self) -> Process | None:
        """The holder at the last observation."""
        return parse_holder(self.raw)

    def observe(self) -> LockState:
        """Read the lock: free, live (its heartbeat was seen), unsure (not yet observed for long enough), or stale."""
        refresh(self.run)
        raw, now = read_lock(self.run), time.monotonic()
        if raw is None:
            self.raw, self._since, self._beaten = None, None, False
            return "free"
        known = parse_holder(raw)
        if known is not None and _holds(known, self.run) is False:
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
        """Remove the lock that was stale at the last observation; False if it is another by now.

        A holder of this host that hangs or is stopped is killed first, so that it never writes beside its successor;
        not one that holds the run of which this is a copy.
        """
        with guard(self.run):
            return self._clear()

    def _clear(self) -> bool:
        if read_lock(self.run) != self.raw:
            return False
        if self.holder is not None and _holds(self.holder, self.run):
            self.holder.kill()
        lock_path(self.run).unlink(missing_ok=True)
        return True


def lock_state(run: Path) -> LockState:
    """Return a lock's state by one reading, in which a holder of another host is `unsure`."""
    raw = read_lock(run)
    if raw is None:
        return "free"
    known = parse_holder(raw)
    holds = _holds(known, run) if known is not None else None
    return "unsure" if holds is None else "live" if holds else "stale"


def _holds(holder: Process, run: Path) -> bool | None:
    """Return whether a process lives and has the run's lock open, as holders have; None if that cannot be known."""
    alive = holder.alive()
    return holder.has_open(lock_path(run)) is not False if alive else alive


@contextmanager
def guard(run: Path) -> Iterator[None]:
    """Hold the guard of a run within the block, after waiting for others who hold it.

    Raises:
        UserError: the file system has no file locks, or may not be written.

    """
    path = run.parent / f".{run.name}.guard"
    with files.explain_disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        refresh(run)
        try:
            yield
        finally:  # a process forked meanwhile shares the descriptor, and would keep the guard
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
    """Hold a run within the `with` block, with heartbeats from a daemon thread.

    On entry it waits until it is known whether another holder lives (one beat, or `patience` seconds without), and
    removes temporary files of a dead predecessor. Within the block this process changes files of the run in `holding`
    alone. If the launcher that started this worker dies (its pid is in the environment), the worker gets SIGTERM, so
    that no worker goes on without a launcher. If the run was taken over, as happens to a process that was stopped for
    long, the heartbeat ends the process at once.

    Args:
        run: the run directory.
        interval: seconds between beats.
        patience: seconds without a beat after which another's lock is stale.

    Raises:
        LockedError: another process works on the run.

    """

    def __init__(
        self,
        run: Path,
        *,
        interval: float = INTERVAL,
        patience: float = PATIENCE,
    ) -> None:
        self.run = run
        self.interval = interval
        self.patience = patience
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._descriptor = -1
        self._beat = 0
        self._inside: int | None = None  #: thread that holds the guard, see `holding`
        self._fence = ExitStack()
        self._content = {**current_process().to_json(), "token": secrets.token_hex(8)}

    def __enter__(self) -> RunLock:
        watch = LockWatch(self.run, self.patience)
        while not self._acquire(watch):
            time.sleep(self.interval / 4)
        self._fence.enter_context(files.fenced(self.run, self.holding))
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._fence.close()
        # A disk that is gone keeps the lock: once it is back, the lock is of a process that has ended.
        with suppress(OSError, files.DiskError), guard(self.run):
            if self.held():
                lock_path(self.run).unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def held(self) -> bool:
        """Return whether the lock is still ours."""
        try:
            there, mine = lock_path(self.run).stat(), os.fstat(self._descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):  # ESTALE: another host removed it from a network's disk
                return False
            raise
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the guard within the block, as the run's holder, so that nobody takes it over meanwhile; may be nested.

        Raises:
            LockedError: another has taken the run over.

        """
        if self._inside == threading.get_ident():
            yield
            return
        with guard(self.run):
            if not self.held():
                raise LockedError("was taken over by another worker", file=self.run)
            try:
                self._inside = threading.get_ident()
                yield
            finally:
                self._inside = None

    def _acquire(self, watch: LockWatch) -> bool:
        """Acquire the lock if it is free or stale; False if its state is not known yet."""
        with guard(self.run):
            state = watch.observe()
            if state == "live":
                who = watch.holder
                raise LockedError(
                    f"is being worked on{f' by {who}' if who else ''}: wait for it, or stop it", file=self.run
                )
            if state == "unsure" or (state == "stale" and not watch._clear()):
                return False
            for folder in (self.run, self.run / "checkpoints"):
                files.remove_leftovers(folder)
            scratch = self.run / f"{files.TEMPORARY}{self._content['token']}-lock.json"
            with files.explain_disk_errors(lock_path(self.run)):
                self._descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                self._write()
                os.replace(scratch, lock_path(self.run))
            return True

    def _write(self) -> None:
        """Write the next beat in place, always the same number of bytes, so that a full disk cannot stop it."""
        self._beat += 1
        text = json.dumps({**self._content, "beat": self._beat})
        os.pwrite(self._descriptor, text.ljust(400).encode() + b"\n", 0)
        os.fsync(self._descriptor)  # makes it visible to other hosts at once

    def _keep_beating(self) -> None:
        launcher = os.environ.get(LAUNCHER)
        terminated = False
        while not self._stop.wait(self.interval):
            with suppress(OSError):  # a beat missed is made up by the next; others give us `patience`
                if not self.held():
                    _die(self.run)
                self._write()
            if launcher and not terminated and os.getppid() != int(launcher):
                terminated = True
                os.kill(os.getpid(), signal.SIGTERM)
