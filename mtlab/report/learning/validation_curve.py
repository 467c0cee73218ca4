"""The validation curve of one run, and what it says of the run's speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ValidationCurve:
    """A metric at the steps at which a run was validated, in the order of steps."""

    steps: tuple[int, ...]
    values: tuple[float, ...]
    length: int  #: steps of training, as planned; a run that stopped early has no values at the last ones

    @property
    def final(self) -> float:
        """The last value."""
        return self.values[-1]

    @property
    def begins(self) -> float:
        """The share of training after which it was first validated."""
        return self.steps[0] / self.length

    def area(self, begins: float = 0.0) -> float | None:
        """Mean of the curve from a share of training to the planned end, by trapezoids; None if it is empty.

        After an early stop the last value counts.

        Args:
            begins: the share, or that of the first validation where it is later. Curves that are compared begin
                alike: one that is first seen later is higher on average.

        """
        start = max(begins * self.length, self.steps[0])
        if start >= self.length:
            return None
        inner = [step for step in self.steps if start < step < self.length]
        steps = [start, *inner, self.length]
        return float(np.trapezoid(np.interp(steps, self.steps, self.values), steps)) / (self.length - start)

    def first_step(self, target: float, mode: str) -> int | None:
        """Return the first step at which a validation found the target or better; None if none did."""
        sign = 1 if mode == "max" else -1
        found = (step for step, value in zip(self.steps, self.values, strict=True) if sign * (value - target) >= 0)
        return next(found, None)


def read_curve(history: Sequence[Mapping[str, Any]], metric: str, length: int | None) -> ValidationCurve | None:
    """Read the curve of a metric from the rows of `metrics.jsonl`; None where it was never logged.

    Args:
        history: rows with a step and values.
        metric: its name.
        length: planned steps of training; None: those that were logged.

    """
    values = {int(row["step"]): float(row[metric]) for row in history if row.get(metric) is not None}
    finite = {step: value for step, value in sorted(values.items()) if math.isfinite(value)}
    if not finite:
        return None
    return ValidationCurve(tuple(finite), tuple(finite.values()), max(length or 0, *finite))
