"""Results from the literature beside ours; nothing is tested against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlab.report.comparison.compare import ComparisonRow
from mtlab.report.comparison.seed_results import column_mean, results_by_seed, seed_mean
from mtlab.runs.store import metric_direction
from mtlab.statistics.intervals import MeanInterval

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class PublishedResult:
    """A published result for the whole study, beside our best."""

    metric: str
    value: float  #: as the paper prints it
    best_label: str | None  #: our best variant on that metric, of those that have learned and are not blind
    best: float | None


@dataclass(frozen=True)
class PublishedRow:
    """A published result of one row, or of a method that is no row of the study."""

    label: str
    cell: str | None  #: None: the study has no such row
    metric: str
    measured_here: bool  #: whether runs of this study have the metric
    value: float  #: as the paper prints it
    source: str
    note: str | None
    ours: MeanInterval | None  #: of the same row on the same metric; None where it was not run, or is not measured


def published_overall(
    runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any]
) -> tuple[PublishedResult, ...]:
    """Return the results published for the whole study, each beside our best."""
    return tuple(_best_of(runs, rows, plan, metric, value) for metric, value in plan["published"].items())


def published_by_row(
    runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any]
) -> tuple[PublishedRow, ...]:
    """Return the results published of single rows, each beside ours, in the plan's order; other methods come last."""
    order = {row.label: index for index, row in enumerate(rows)}
    entries = sorted(plan["published_rows"], key=lambda entry: order.get(entry["label"], len(order)))
    results = []
    for entry in entries:
        for group, measured in (("values", True), ("also", False)):
            for metric, value in entry[group].items():
                ours = None
                if measured and entry["cell"] is not None:
                    row = next(row for row in rows if row.cell == entry["cell"])
                    ours = row.mean
                    if metric != plan["metrics"]["verdict"]:
                        ours = seed_mean(results_by_seed(runs, entry["cell"], metric), plan["alpha"], metric)
                fields = (entry["label"], entry["cell"], metric, measured, value, entry["source"], entry["note"], ours)
                results.append(PublishedRow(*fields))
    return tuple(results)


def _best_of(
    runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any], metric: str, value: float
) -> PublishedResult:
    learned = [row for row in rows if row.outcome not in ("not learned", "blind")]
    ours = {row.label: mean for row in learned if (mean := column_mean(runs, row.cell, metric)) is not None}
    best_of = max if metric_direction(plan, metric) == "max" else min
    label = best_of(ours, key=ours.__getitem__) if ours else None
    return PublishedResult(metric, value, label, None if label is None else ours[label])
