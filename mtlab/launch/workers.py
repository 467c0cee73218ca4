"""The worker process of a run: its command line and its environment, the same on every machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.processes import LAUNCHER, module_command

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

#: Variables of torchrun, which a launcher within a cluster's job may have; they are not for its workers.
TORCHRUN = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"})


def worker_command(run: Path, processes: int = 1) -> list[str]:
    """Return the command line of a worker: `mtlab train RUN_DIR`, with this Python.

    Args:
        run: the run directory.
        processes: number of processes that train it together.

    """
    together = ["--processes", str(processes)] if processes > 1 else []
    return module_command("mtlab", "train", str(run), *together)


def threads_of(config: Mapping[str, Any]) -> int:
    """Return the number of threads of a run (its `config.json`)."""
    return int(config["config"]["train"]["threads"])


def worker_environment(threads: int) -> dict[str, str]:
    """Return a worker's environment: that of this process, with `threads` threads for every numerical library."""
    own = {name: value for name, value in os.environ.items() if name not in {LAUNCHER, *TORCHRUN}}
    return own | thread_variables(threads)


def thread_variables(threads: int) -> dict[str, str]:
    """Return the variables that limit every numerical library to `threads` threads."""
    return {
        **dict.fromkeys(THREADS, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",  # log.txt is UTF-8, whatever the locale
    }


def open_log(run: Path) -> int:
    """Open `log.txt` of a run, to append what its worker prints; return the file descriptor.

    Raises:
        UserError: the disk is full, or the folder may not be written.

    """
    path = run / "log.txt"
    with files.explain_disk_errors(path):
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
