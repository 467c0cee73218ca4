"""Classify how a worker process ended, from its exit code, its `failure.json` and what a cluster says.

The worker itself writes `failure.json` (`mtlab.training.failures`); a killed one cannot.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mtlab.files import mount_point
from mtlab.processes import EXIT_DISK, EXIT_FAILED, EXIT_INPUT_ERROR, EXIT_LOCKED, EXIT_PEER_LOST
from mtlab.training.failures import Kind

FailureKind = Kind | Literal["timeout", "killed"]

ADVICE: dict[FailureKind, str] = {
    "oom": "set or lower train.micro_batch (the results stay the same), or use fewer --workers",
    "nan": "lower train.lr, lengthen train.warmup, or set train.clip",
    "timeout": "raise resources.hours, or run again: it goes on from its last checkpoint",
    "killed": "run again to go on from the last checkpoint; if memory is short, use fewer --workers",
    "disk": "free some space (see `mtlab clean`), or wait until disk or network is back, then run again: it goes on",
    "input": "correct the setting, then run again",
    "bug": "see log.txt in the run directory; once it is mended, run again",
}


@dataclass(frozen=True)
class RunFailure:
    """Why a run did not finish."""

    kind: FailureKind
    error: str  #: one line
    where: str | None = None  #: file:line of an exception
    attempt: int = 1

    def __str__(self) -> str:
        return f"{self.kind}: {self.error}"

    @property
    def advice(self) -> str:
        """What the user can do about it, in one line."""
        return ADVICE[self.kind]

    @property
    def stops_cell(self) -> bool:
        """Would the cell's other seeds fail in the same way?"""
        return self.kind in ("bug", "input", "oom")

    @property
    def signature(self) -> tuple[str, str] | None:
        """Type and place of an exception, or what was wrong: where two cells have the same, they are not its cause."""
        if self.kind not in ("bug", "input") or self.where is None:
            return None
        return (self.error.partition(":")[0] if self.kind == "bug" else self.error), self.where

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunFailure:
        """Read a worker's `failure.json`; an unknown kind counts as a bug."""
        kind: FailureKind = data["kind"] if data.get("kind") in ADVICE else "bug"
        error = " ".join(str(data.get("error", "")).split()) or "no message"
        return cls(kind, error, data.get("where"), int(data.get("attempt", 1)))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": self.kind, "error": self.error, "where": self.where, "advice": self.advice}


@dataclass(frozen=True)
class ExitStatus:
    """How an attempt at a run ended, as its pool saw it."""

    code: int | None  #: exit code of its worker; −n if signal n ended it; None if unknown
    kind: FailureKind | None = None  #: where the cluster knows more than the code
    cause: str = ""  #: in a line, where the code does not say it
    log: str = "log.txt"  #: file in the run directory with the details


def classify_exit(
    status: ExitStatus, written: Mapping[str, Any] | None, finished: bool, attempt: int, run: Path
) -> RunFailure | None:
    """Return why a worker did not finish its run.

    Args:
        status: as its pool saw it.
        written: the `failure.json` that it has written.
        finished: is there a `result.json`?
        attempt: the number of the attempt.
        run: the run directory.

    Returns:
        None if the run is finished, or if another worker holds it.

    """
    code = status.code
    if finished or code == EXIT_LOCKED:
        return None
    if status.kind is not None:
        return RunFailure(status.kind, status.cause, "the queue" if status.kind == "input" else None, attempt)
    if code is not None and written is not None:  # a signal that ended it came after its failure
        return RunFailure.from_json(written)
    if code == EXIT_DISK:
        problem = f"the disk is full, or does not answer (mounted at {mount_point(run)})"
        return RunFailure("disk", problem, None, attempt)
    if code == EXIT_INPUT_ERROR:
        return RunFailure(
            "input", f"the worker refused its input: see {status.log} in the run directory", None, attempt
        )
    if code is None:
        return RunFailure("killed", status.cause, None, attempt)
    if code in (0, 1, EXIT_FAILED):
        return RunFailure("bug", f"the worker exited with {code} without a result: see {status.log}", None, attempt)
    if code == EXIT_PEER_LOST:
        return RunFailure("killed", f"the run's processes lost each other: see {status.log}", None, attempt)
    return RunFailure("killed", f"the worker was ended by {_describe_code(code)}", None, attempt)


def _describe_code(code: int) -> str:
    number = -code if code < 0 else code - 128 if code > 128 else 0
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"exit code {code}"
