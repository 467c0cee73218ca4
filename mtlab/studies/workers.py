"""Worker processes: one per run, each in a process group of its own, stopped politely or by force."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mtlab import files
from mtlab.studies.process import LAUNCHER

Command = Callable[[Path], Sequence[str]]  #: run directory → command line of its worker

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)

#: Variables of torchrun: a launcher within a cluster's job may have them, but means none of its workers by them.
TORCHRUN = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"})


def worker_command(run: Path, processes: int = 1) -> list[str]:
    """Return the command line of the real worker: `mtlab train RUN_DIR`, under this Python.

    Args:
        run: the run directory.
        processes: that train it together.

    """
    together = ["--processes", str(processes)] if processes > 1 else []
    return [sys.executable, "-m", "mtlab", "train", str(run), *together]


def cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(threads: int) -> dict[str, str]:
    """Return a worker's environment: every numerical library held to `threads` threads, and who started it."""
    inherited = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    return {
        **inherited,
        **dict.fromkeys(THREADS, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        LAUNCHER: str(os.getpid()),
    }


async def start(command: Sequence[str], run: Path, threads: int) -> asyncio.subprocess.Process:
    """Start a worker; what it prints is appended to `log.txt` of the run.

    The worker leads a session of its own: Ctrl-C in the terminal reaches the launcher alone, which passes it on.
    """
    path = run / "log.txt"
    with files.writing(path):
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(threads),
            start_new_session=True,
        )
    finally:
        os.close(log)


def send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a worker and everything that it started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
