"""Identifying processes by host, pid and start time, so that others can tell whether one still runs."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

LAUNCHER = "MTLAB_LAUNCHER"  #: environment variable: pid of the launcher that started this worker

# Exit codes of a worker, beside 0 (finished) and 128 + n (ended by signal n).
EXIT_INPUT_ERROR = 2  #: the user's input is wrong: see failure.json
EXIT_FAILED = 3  #: anything else went wrong: see failure.json
EXIT_DISK = 74  #: it is full or gone: failure.json may be missing
EXIT_LOCKED = 75  #: another process works on the run: not an attempt, to be waited for
EXIT_PEER_LOST = 76  #: another process of the same run has ended, and says why
EXIT_INTERRUPTED = 130  #: Ctrl-C: to be resumed


def module_command(module: str, *words: str) -> list[str]:
    """Return the command line of a module, with this Python, that looks for modules where this process does.

    `python -m` puts the current folder first: a file there that has the name of a library's module would be imported
    in its place. Where it is not on this process's path, as in the command `mtlab`, `-P` keeps it off.
    """
    here = {""}
    with suppress(FileNotFoundError):  # the folder has gone
        here.add(str(Path.cwd()))
    safe = ["-P"] if here.isdisjoint(sys.path[:1]) else []
    return [sys.executable, *safe, "-m", module, *words]


@dataclass(frozen=True)
class Process:
    """A process, identified so that it differs from one that gets the same pid later."""

    host: str
    boot: str  #: id of the host's boot; "" where there is none
    space: str  #: the pid namespace, as containers on one host have their own
    pid: int
    start: int  #: in the kernel's ticks since boot; 0 where unknown
    machine: str = ""  #: digest of the machine's id, as hosts may have one name; "" where there is none

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @classmethod
    def from_json(cls, data: Any) -> Process:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.

        """
        import msgspec  # lazily: `mtlab --help` need not wait for it

        return msgspec.convert(data, cls)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    def alive(self) -> bool | None:
        """Return whether it runs, or None if that cannot be known, as of a process on another host."""
        us = current_process()
        if not self.boot or (self.host, self.machine) != (us.host, us.machine):
            return None
        if self.boot != us.boot:
            return False  # this host has been restarted since
        if self.space != us.space:
            return None
        return _start_ticks(self.pid) == self.start

    def has_open(self, path: Path) -> bool | None:
        """Return whether it has this very file open, not a copy; None if that cannot be known."""
        if not self.alive():
            return None
        with suppress(OSError):  # it has ended meanwhile, or what it has open may not be seen
            file = path.stat()
            descriptors = list(os.scandir(f"/proc/{self.pid}/fd"))
            for descriptor in descriptors:
                with suppress(FileNotFoundError):  # closed meanwhile
                    if os.path.samestat(descriptor.stat(), file):
                        return True
            return False if descriptors else None
        return None

    def kill(self) -> None:
        """Kill it if it is known to run here, and wait for its end; never another process that has its pid by now.

        One of another user goes on, as one of another host does.
        """
        with suppress(PermissionError):
            self.send(signal.SIGKILL, seconds=5.0)

    def send(self, number: signal.Signals, *, seconds: float = 0.0) -> bool:
        """Send it a signal if it is known to run here, and wait some seconds for its end; return whether it was sent.

        Never another process that has its pid by now, nor this one.

        Raises:
            PermissionError: it is of another user.

        """
        if self.pid == os.getpid() or not self.alive():
            return False
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.alive():  # the descriptor is bound to it now
                    signal.pidfd_send_signal(descriptor, number)
                    select.select([descriptor], [], [], seconds)
                    return True
            finally:
                os.close(descriptor)
        return False


def current_process() -> Process:
    """Return this process."""
    return running_process(os.getpid())


def running_process(pid: int) -> Process:
    """Return the process of this host that has a pid now."""
    host, boot, space, machine = _location()
    return Process(host, boot, space, pid, _start_ticks(pid) or 0, machine)


def end_process(code: int) -> NoReturn:
    """End this process at once, after writing what it has printed: threads of libraries are neither awaited nor undone.

    Args:
        code: the exit code.

    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk, or closed
            stream.flush()
    os._exit(code)


@cache
def _location() -> tuple[str, str, str, str]:
    """Return host, boot, pid namespace and machine, which do not change while a process runs."""
    import hashlib  # lazily: `mtlab --help` need not wait for it

    boot = space = machine = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    with suppress(OSError):  # the id itself is not to be told to others: machine-id(5)
        machine = hashlib.sha256(Path("/etc/machine-id").read_bytes()).hexdigest()[:12]
    return socket.gethostname(), boot, space, machine


def _start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot, or None if it has ended (reaped or not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
