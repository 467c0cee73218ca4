"""The metrics of a trial's runs that a search may see: results without test data, reduced over seeds, and curves."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlab.config.schema import Mode
from mtlab.errors import UserError
from mtlab.files import read_jsonl_from
from mtlab.runs.results import is_test, numbers
from mtlab.sweeps.spec import Constraint, Objective, SeedRules


def visible_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a finished run (its `result.json`) that a search may see: all but those of test data."""
    return {name: value for name, value in numbers(result).items() if value is not None and not is_test(name)}


def select_metrics(metrics: Mapping[str, float], names: Iterable[str]) -> list[float]:
    """Select metrics of a run by name.

    Raises:
        UserError: the run has not measured one of them.

    """
    values = []
    for name in names:
        if name not in metrics:
            raise UserError(f"a finished run has no {name}: it cannot be searched for")
        values.append(metrics[name])
    return values


def reduce_over_seeds(values: Sequence[float], rules: SeedRules, mode: Mode | None) -> float:
    """Reduce a metric over seeds.

    Args:
        values: one per seed.
        rules: mean, median or worst.
        mode: which direction is better; needed for the worst.

    """
    if rules.reduce == "worst":
        assert mode is not None
        return min(values) if mode == "max" else max(values)
    return statistics.median(values) if rules.reduce == "median" else statistics.fmean(values)


def constraint_excess(seeds: Sequence[Mapping[str, float]], constraints: Mapping[str, Constraint]) -> dict[str, float]:
    """Return by how much the mean over seeds violates each constraint: 0 or less where it keeps it.

    Args:
        seeds: the metrics of each seed; one that no seed has is left out.
        constraints: metric → constraint.

    """
    excess = {}
    for metric, constraint in constraints.items():
        values = [metrics[metric] for metrics in seeds if metric in metrics]
        if values:
            excess[metric] = constraint.excess(statistics.fmean(values))
    return excess


def describe_violations(
    excess: Mapping[str, float], constraints: Mapping[str, Constraint], metrics: Mapping[str, float]
) -> str:
    """Describe the violated constraints; empty if there are none."""
    return "; ".join(
        f"{metric} is {metrics[metric]:g}, not {constraints[metric]}" for metric, over in excess.items() if over > 0
    )


@dataclass
class LearningCurve:
    """The values of one metric in a run's `metrics.jsonl`, read while the run writes it."""

    path: Path
    objective: Objective
    offset: int = 0
    seconds: float = 0.0
    points: dict[int, float] = field(default_factory=dict)

    def read(self) -> list[tuple[int, float]]:
        """Read what was added since the last call; return new (step, value) pairs, without steps that were repeated."""
        rows, self.offset = read_jsonl_from(self.path, self.offset)
        fresh = []
        for row in rows:
            self.seconds = max(self.seconds, float(row.get("seconds", 0.0)))
            step, value = row.get("step"), row.get(self.objective.metric)
            if isinstance(step, int) and isinstance(value, int | float) and step not in self.points:
                self.points[step] = float(value)
                fresh.append((step, float(value)))
        return fresh
