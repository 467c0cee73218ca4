"""What a search sees of runs: their results without test data, and how they went on the way."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlab.errors import UserError
from mtlab.files import read_jsonl_from
from mtlab.runs.results import numbers
from mtlab.sweeps.spec import Constraint, Mode, Objective, SeedRules


def visible_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return what a search may see of a finished run: every number but those of test data."""
    found = numbers(result)
    return {name: value for name, value in found.items() if value is not None and not name.startswith("test/")}


def select_metrics(found: Mapping[str, float], metrics: Iterable[str]) -> list[float]:
    """Pick metrics of a run by name.

    Raises:
        UserError: it has not measured one of them.

    """
    values = []
    for metric in metrics:
        if metric not in found:
            raise UserError(f"a finished run has no {metric}: it cannot be searched for")
        values.append(found[metric])
    return values


def reduce_over_seeds(values: Sequence[float], how: SeedRules, mode: Mode) -> float:
    """Reduce a metric over seeds.

    Args:
        values: one per seed.
        how: mean, median or worst.
        mode: which direction is better, so that the worst is known.

    """
    if how.reduce == "worst":
        return min(values) if mode == "max" else max(values)
    return statistics.median(values) if how.reduce == "median" else statistics.fmean(values)


def constraint_excess(found: Sequence[Mapping[str, float]], bounds: Mapping[str, Constraint]) -> dict[str, float]:
    """Tell by how much the mean over seeds breaks each limit: 0 or less where it keeps it.

    Args:
        found: the numbers of each seed; a metric that it lacks says nothing.
        bounds: metric → limit.

    """
    broken = {}
    for metric, bound in bounds.items():
        values = [numbers[metric] for numbers in found if metric in numbers]
        if values:
            broken[metric] = bound.excess(statistics.fmean(values))
    return broken


def describe_violations(
    excesses: Mapping[str, float], objectives: Mapping[str, Constraint], found: Mapping[str, float]
) -> str:
    """Say which limits are broken, in words; "" if none is."""
    lines = [
        f"{metric} is {found[metric]:g}, not {objectives[metric]}" for metric, over in excesses.items() if over > 0
    ]
    return "; ".join(lines)


@dataclass
class LearningCurve:
    """What a run's `metrics.jsonl` has told of one metric so far."""

    path: Path
    objective: Objective
    offset: int = 0
    seconds: float = 0.0
    points: dict[int, float] = field(default_factory=dict)

    def read(self) -> list[tuple[int, float]]:
        """Read on; return the new points, step and value. A step that a resumed run repeats is not new."""
        rows, self.offset = read_jsonl_from(self.path, self.offset)
        fresh = []
        for row in rows:
            self.seconds = max(self.seconds, float(row.get("seconds", 0.0)))
            step, value = row.get("step"), row.get(self.objective.metric)
            if isinstance(step, int) and isinstance(value, int | float) and step not in self.points:
                self.points[step] = float(value)
                fresh.append((step, float(value)))
        return fresh
