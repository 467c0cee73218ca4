"""Executes runs on this machine: a process group for each, and a GPU where it takes one."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.local.fork_server import ForkServer
from mtlab.launch.pool import Attempt
from mtlab.launch.workers import Command, open_log, threads_of, worker_command, worker_environment
from mtlab.processes import LAUNCHER

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
CGROUP = Path("/sys/fs/cgroup")  #: where a container finds its limits


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use, or the time of so many, where its container is limited."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cpus, _quota() or cpus)


def _quota() -> int | None:
    """Return how many CPUs the time of this process's container is worth, rounded up; None without a limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # cgroups of version 2, and 1
        with suppress(OSError, ValueError):  # `max`: no limit
            quota, period = map(int, " ".join((CGROUP / name).read_text(encoding="utf-8") for name in names).split())
            return math.ceil(quota / period) if quota > 0 else None
    return None


def takes_gpu(config: Mapping[str, Any]) -> bool:
    """Does a run (its `config.json`) use the GPU that it is given?"""
    return _device(config) in ("auto", "cuda")


def _device(config: Mapping[str, Any]) -> str:
    return str(config["config"]["train"].get("device", "cpu"))


def _may_fork(config: Mapping[str, Any]) -> bool:
    """May its worker be forked? Libraries have begun more threads, which a fork would lack; and CUDA forbids it."""
    return threads_of(config) == 1 and not _device(config).startswith("cuda")


def default_workers(configs: Mapping[str, Mapping[str, Any]], gpus: Sequence[str] = (), processes: int = 1) -> int:
    """Return as many workers as there are CPUs for their threads; where runs use GPUs, no more than these are.

    Args:
        configs: run id → content of its `config.json`.
        gpus: the GPUs of this machine.
        processes: of each run, each with its threads and GPU.

    """
    fitting = max(1, usable_cpus() // (processes * max((threads_of(config) for config in configs.values()), default=1)))
    named = {device for device in map(_device, configs.values()) if device.startswith("cuda:")}  # of one card each
    given = len(gpus) // processes if any(map(takes_gpu, configs.values())) else 0
    return max(1, min(fitting, given + len(named))) if named or (gpus and given) else fitting


class LocalPool:
    """Workers on the machine that the launcher runs on.

    Args:
        at_once: worker processes at once.
        gpus: as `CUDA_VISIBLE_DEVICES` names them; a run gets those with the fewest runs.
        command: the command line of a worker.
        gpus_per_run: one for each of its processes.
        forks: workers of one thread that use no GPU are forked, and start at once; `command` starts the others.

    """

    def __init__(
        self,
        at_once: int,
        gpus: Sequence[str] = (),
        command: Command = worker_command,
        gpus_per_run: int = 1,
        *,
        forks: bool = False,
    ) -> None:
        self.at_once = at_once
        self.gpus = tuple(gpus)
        self.command = command
        self.gpus_per_run = gpus_per_run
        self.forks = forks and sys.platform == "linux"
        self._server: ForkServer | None = None
        self._load: Counter[str] = Counter()  #: runs by GPU

    async def __aenter__(self) -> LocalPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def start(self, run: Path, config: Mapping[str, Any]) -> Attempt:
        """Start a worker; see `Pool.start`. It ends when this process does, see `RunLock`."""
        environment = worker_environment(threads_of(config))
        variables = {**environment, LAUNCHER: str(os.getpid())}
        gpus = sorted(self.gpus, key=self._load.__getitem__)[: self.gpus_per_run] if takes_gpu(config) else []
        if gpus:
            variables[VISIBLE_DEVICES] = ",".join(gpus)
        elif self.forks and _may_fork(config):
            os.close(open_log(run))  # if it cannot be written, that is told here
            self._server = self._server or ForkServer(environment)
            if (forked := await self._server.fork(run, environment)) is not None:
                return forked
        process = await start_process(self.command(run), run, variables)
        self._load.update(gpus)
        return _Worker(process, gpus, self._load)

    def adopt(self, run: Path) -> Attempt | None:  # noqa: ARG002 - the protocol's
        """Return None: workers end with their launcher."""
        return None


class _Worker:
    """A worker process."""

    pending = False

    def __init__(self, process: asyncio.subprocess.Process, gpus: Sequence[str], load: Counter[str]) -> None:
        self.process = process
        self.gpus = tuple(gpus)
        self._load = load
        self._asked = False  #: was it asked to stop? A second SIGTERM would kill it at its checkpoint

    @property
    def details(self) -> Mapping[str, Any]:
        """Its pid, and its GPUs if it has any."""
        return {"pid": self.process.pid} | ({"gpu": ",".join(self.gpus)} if self.gpus else {})

    async def wait(self) -> ExitStatus:
        """Wait for its end."""
        code = await self.process.wait()
        self._load.subtract(self.gpus)
        return ExitStatus(code)

    def stop(self, *, force: bool = False) -> None:
        """Send SIGTERM once, or SIGKILL, to its process group."""
        if self.process.returncode is None and (force or not self._asked):
            self._asked = True
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL if force else signal.SIGTERM)


async def start_process(command: Sequence[str], run: Path, variables: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start a worker whose output is appended to `log.txt` of the run.

    The worker leads a session of its own: Ctrl-C in the terminal reaches only the launcher, which passes it on.
    """
    log = open_log(run)
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(variables),
            start_new_session=True,
        )
    finally:
        os.close(log)
