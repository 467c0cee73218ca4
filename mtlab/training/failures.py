"""Failures of a run, classified by what to do about them: `failure.json`."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Literal

from mtlab.errors import UserError, one_line
from mtlab.files import DiskError, as_user_error

Kind = Literal["oom", "nan", "disk", "input", "bug"]


#: Words of errors of other types: of torch's CPU allocator, of contexts and pinned memory, and of CUDA's libraries.
OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "_ALLOC_FAILED")


class DivergedError(Exception):
    """The loss is not a finite number."""


def classify(error: BaseException) -> Kind:
    """Classify an exception by its type."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        return "oom"
    if isinstance(error, DivergedError):
        return "nan"
    if isinstance(error, DiskError):
        return "disk"
    return "input" if isinstance(error, UserError) else "bug"


def describe_failure(error: BaseException, attempt: int, run: Path) -> dict[str, Any]:
    """Describe an exception for `failure.json`: kind, one line, place, trace, attempt. `run` is the run directory."""
    explained = _killed_reader(error) or as_user_error(error, run)
    kind = classify(explained)
    line = one_line(explained)
    if kind == "bug":
        line = f"{type(error).__name__}: {line}"
    elif kind == "oom":
        line = f"out of memory ({line})"
    return {
        "kind": kind,
        "error": line,
        "where": _where(error),
        "trace": "".join(traceback.format_exception(error)),
        "attempt": attempt,
    }


def _killed_reader(error: BaseException) -> UserError | None:
    """Explain what torch raises, from a handler and so from anywhere, when a worker of its data loader is killed."""
    if not (isinstance(error, RuntimeError) and "DataLoader worker" in str(error)):
        return None
    problem = "a process that reads shards was killed (out of memory, or of shared memory?): use fewer workers"
    return UserError(problem, key="train.num_workers")


def _where(error: BaseException) -> str | None:
    """Return file and line of the innermost frame, so that the same bug in two cells can be recognised as one."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
