"""The environment of a run: device, versions, commit, memory. Stored with the run, never part of its id."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mtlab.errors import UserError
from mtlab.resolution.identity import plugin_digests
from mtlab.resolution.training_code import installed_version, training_code_digest
from mtlab.runs.results import PLUGIN

if TYPE_CHECKING:
    from mtlab.training.assemble import AssembledRun

PACKAGES = ("mtlab", "numpy", "timm", "transformers")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  #: of malloc.h


def choose_device(wanted: str, number: int = 0, processes: int = 1) -> torch.device:
    """Choose the device that `train.device` names: `auto` takes CUDA where there is one.

    Args:
        wanted: auto, cpu, cuda or cuda:N.
        number: of this process among those of its host that train one model.
        processes: how many these are; each takes a GPU of its own.

    Raises:
        UserError: there is no such device, or not one for each process.

    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if processes > 1 and wanted.startswith("cuda:"):
        raise UserError(f"{wanted} is one GPU, and each of {processes} processes takes one: cuda", key="train.device")
    if wanted == "cuda" and 1 < processes <= torch.cuda.device_count():
        return torch.device("cuda", number)
    if wanted == "cuda" and processes > 1:
        raise UserError(
            f"{processes} processes need {processes} GPUs, there are {torch.cuda.device_count()} here: start fewer, "
            "or set it to cpu",
            key="train.device",
        )
    try:
        chosen = torch.device(wanted)
    except (RuntimeError, TypeError):
        raise UserError(f"{wanted!r} is no device (expected auto, cpu, cuda or cuda:N)", key="train.device") from None
    if chosen.type not in ("cpu", "cuda"):
        raise UserError(f"{wanted!r} is not supported (expected auto, cpu, cuda or cuda:N)", key="train.device")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no {wanted} here ({torch.cuda.device_count()} CUDA devices)", key="train.device")
    return torch.device("cuda", chosen.index or 0) if chosen.type == "cuda" else chosen  # torch asks for the index


def describe_attempt(attempt: int, chosen: torch.device, threads: int, processes: int = 1) -> dict[str, Any]:
    """Describe this attempt for `state.json`. Versions are read without importing the packages."""
    return {
        "attempt": attempt,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": device_name(chosen),
        "threads": threads,
        "processes": processes,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{name: installed_version(name) for name in PACKAGES},
            "torch": str(torch.__version__),  # with the build (+cpu, +cu132), on which sums depend
        },
        "git": read_git(Path(__file__).parent),
    }


def describe_conditions(run: AssembledRun) -> dict[str, Any]:
    """Describe what a run is trained under that is no part of its id, but may change its last bits or its time."""
    return {
        "device": device_name(run.runtime.device),
        "threads": run.train.threads,
        "micro_batch": run.train.micro_batch or run.train.batch,
        "processes": run.group.world_size,
        "mtlab": installed_version("mtlab"),
        "torch": str(torch.__version__),
        "code": training_code_digest(),
        **{f"{PLUGIN} {name}": source for name, source in plugin_digests(run.config).items()},
    }


def device_name(chosen: torch.device) -> str:
    """Name the device: `cpu`, or `cuda` with the card's name."""
    return f"cuda ({torch.cuda.get_device_name(chosen)})" if chosen.type == "cuda" else chosen.type


def read_git(folder: Path) -> dict[str, Any] | None:
    """Give commit and dirty flag of the working tree that mtlab runs from; None if it is installed."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": dirty}


def peak_memory_mib(chosen: torch.device) -> float:
    """Give the peak memory so far: of the card on CUDA, else of the process."""
    if chosen.type == "cuda":
        return torch.cuda.max_memory_allocated(chosen) / 2**20
    status = Path("/proc/self/status")
    told = status.read_text(encoding="utf-8") if status.exists() else ""
    if "VmHWM:" in told:  # on Linux `ru_maxrss` begins with the peak of the process that started this one
        return int(told.partition("VmHWM:")[2].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def keep_freed_memory() -> None:
    """Make glibc reuse the memory that a step frees, up to 256 MiB, rather than return it to the kernel.

    By default every block of more than 128 KiB comes from the kernel, zeroed page by page: gathering a batch from the
    cache took six times as long. Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        c = ctypes.CDLL(None)
        c.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the most that it takes
        c.mallopt(_M_TRIM_THRESHOLD, 256 * 2**20)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, encoding="utf-8", timeout=10
    )
    return done.stdout.strip()
