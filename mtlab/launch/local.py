"""Runs on this machine: a process each, in a process group of its own, stopped politely or by force; a GPU each."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mtlab import files
from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.pool import Attempt
from mtlab.launch.workers import Command, threads_of, worker_command, worker_environment
from mtlab.processes import LAUNCHER

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def takes_gpu(config: Mapping[str, Any]) -> bool:
    """Does a run (its `config.json`) take whatever GPU it is given?"""
    return config["config"]["train"].get("device", "cpu") in ("auto", "cuda")


def default_workers(configs: Mapping[str, Mapping[str, Any]], cards: Sequence[str] = (), processes: int = 1) -> int:
    """As many workers as there are CPUs for their threads; where runs take GPUs, no more than there are.

    Args:
        configs: run id → content of its `config.json`.
        cards: the GPUs.
        processes: of each run, each with its threads and GPU.

    """
    fitting = max(1, usable_cpus() // (processes * max((threads_of(config) for config in configs.values()), default=1)))
    takes = cards and any(map(takes_gpu, configs.values()))
    return max(1, min(fitting, len(cards) // processes)) if takes else fitting


class LocalPool:
    """Workers on the machine that the launcher runs on.

    Args:
        at_once: worker processes at once.
        cards: the GPUs, as `CUDA_VISIBLE_DEVICES` names them: each run that takes one gets the one with the fewest.
        command: how to start a worker.
        each: GPUs of a run that takes any, one for each of its processes.

    """

    def __init__(
        self, at_once: int, cards: Sequence[str] = (), command: Command = worker_command, each: int = 1
    ) -> None:
        self.at_once = at_once
        self.cards = tuple(cards)
        self.command = command
        self.each = each
        self._taken: Counter[str] = Counter()

    async def __aenter__(self) -> LocalPool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def start(self, run: Path, config: Mapping[str, Any]) -> Attempt:
        """Start a worker; see `Pool.start`. It ends if this process does, see `RunLock`."""
        variables = {**worker_environment(threads_of(config)), LAUNCHER: str(os.getpid())}
        cards = sorted(self.cards, key=self._taken.__getitem__)[: self.each] if takes_gpu(config) else []
        if cards:
            variables[VISIBLE_DEVICES] = ",".join(cards)
        process = await start_process(self.command(run), run, variables)
        self._taken.update(cards)
        return _Worker(process, cards, self._taken)

    def adopt(self, run: Path) -> Attempt | None:  # noqa: ARG002 - the protocol's
        """Adopt nothing: workers end with their launcher."""
        return None


class _Worker:
    """A worker process."""

    pending = False

    def __init__(self, process: asyncio.subprocess.Process, cards: Sequence[str], taken: Counter[str]) -> None:
        self.process = process
        self.cards = tuple(cards)
        self._taken = taken

    @property
    def details(self) -> Mapping[str, Any]:
        """Its pid, and its GPU, or GPUs, if it was given any."""
        return {"pid": self.process.pid} | ({"card": ",".join(self.cards)} if self.cards else {})

    async def wait(self) -> ExitStatus:
        """Wait for its end."""
        code = await self.process.wait()
        self._taken.subtract(self.cards)
        return ExitStatus(code)

    def stop(self, *, force: bool = False) -> None:
        """Send SIGTERM, or SIGKILL, to it and everything that it started."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL if force else signal.SIGTERM)


async def start_process(command: Sequence[str], run: Path, variables: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start a worker; what it prints is appended to `log.txt` of the run.

    The worker leads a session of its own: Ctrl-C in the terminal reaches the launcher alone, which passes it on.
    """
    path = run / "log.txt"
    with files.explain_disk_errors(path):
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
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
