"""Which process is that, and does it still live? Exact on one host, by pid and start time; unknown from afar."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LAUNCHER = "MTLAB_LAUNCHER"  #: environment variable: pid of the launcher that started this worker

# Exit codes of a worker, beside 0 (finished) and 128 + n (ended by signal n).
EXIT_INPUT_ERROR = 2  #: the user's input is wrong: see failure.json
EXIT_FAILED = 3  #: anything else went wrong: see failure.json
EXIT_LOCKED = 75  #: another process works on the run: not an attempt, to be waited for
EXIT_PEER_LOST = 76  #: another process of the same run has ended, and says why
EXIT_INTERRUPTED = 130  #: Ctrl-C: to be resumed


@dataclass(frozen=True)
class Process:
    """A process, so described that another of the same host can tell it from one that got its pid later."""

    host: str
    boot: str  #: differs after a restart of the host; "" where it cannot be had
    space: str  #: the namespace in which `pid` counts: containers on one host have their own
    pid: int
    start: int  #: in the kernel's ticks since boot; 0 where it cannot be had

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @classmethod
    def from_json(cls, data: Any) -> Process:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.

        """
        try:
            return cls(str(data["host"]), str(data["boot"]), str(data["space"]), int(data["pid"]), int(data["start"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a process: {error!r}") from None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {"host": self.host, "boot": self.boot, "space": self.space, "pid": self.pid, "start": self.start}

    def alive(self) -> bool | None:
        """Does it live? None if that cannot be known from here: another host, or no way to ask the kernel."""
        us = current_process()
        if not self.boot or self.host != us.host:
            return None
        if self.boot != us.boot:
            return False  # this host has been restarted since
        if self.space != us.space:
            return None
        return _started(self.pid) == self.start

    def kill(self) -> None:
        """Kill it if it is known to live here, and wait for its end; never another that has its pid by now."""
        if self.pid == os.getpid() or not self.alive():
            return
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.alive():  # the descriptor is bound to it now
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    select.select([descriptor], [], [], 5.0)
            finally:
                os.close(descriptor)


def current_process() -> Process:
    """Return this process."""
    host, boot, space = _place()
    return Process(host, boot, space, os.getpid(), _started(os.getpid()) or 0)


@cache
def _place() -> tuple[str, str, str]:
    """Host, boot and process namespace: they cannot change under a process."""
    boot = space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname(), boot, space


def _started(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None if it is gone, or dead and not yet reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
