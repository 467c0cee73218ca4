"""What went wrong in a run, sorted by what to do about it: `failure.json`."""

from __future__ import annotations

import traceback
from typing import Any, Literal

from mtlab.errors import UserError

Kind = Literal["oom", "nan", "input", "bug"]
OOM_ADVICE = "out of memory: set or lower train.micro_batch, run fewer workers at once, or choose a smaller batch"


class DivergedError(Exception):
    """The loss is not a finite number."""


def classify(error: BaseException) -> Kind:
    """Sort an exception by its type."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return "oom"  # torch's CPU allocator raises a bare RuntimeError
    if isinstance(error, DivergedError):
        return "nan"
    return "input" if isinstance(error, UserError) else "bug"


def describe_failure(error: BaseException, attempt: int) -> dict[str, Any]:
    """Describe an exception for `failure.json`: kind, one line, place, trace, attempt."""
    found = classify(error)
    line = " ".join(str(error).split()) or type(error).__name__
    if found == "bug":
        line = f"{type(error).__name__}: {line}"
    elif found == "oom":
        line = f"{OOM_ADVICE} ({line})"
    return {
        "kind": found,
        "error": line,
        "where": _where(error),
        "trace": "".join(traceback.format_exception(error)),
        "attempt": attempt,
    }


def _where(error: BaseException) -> str | None:
    """Name the innermost place, so that the same bug in two cells can be recognised as one."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
