"""A report as CSV: stable columns, values in the metric's own unit and not rounded, empty where unknown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.learning.speed import SpeedRow
    from mtlab.report.study_report import StudyReport
    from mtlab.statistics.intervals import MeanInterval
    from mtlab.statistics.learning import Learning
    from mtlab.statistics.paired import Difference


FAMILY_COLUMNS = (
    "study", "label", "variant", "block", "cell", "kind", "metric", "family", "n", "examples", "mean", "half_width",
    "low", "high", "sd", "compare_to", "pairs", "difference", "difference_low", "difference_high", "p", "p_corrected",
    "outcome", "floor", "learned", "not_learned", "clusters", "design_effect",
)  # fmt: skip


def report_rows(report: StudyReport) -> Iterator[dict[str, Any]]:
    """Yield a row per variant, then one per published method that is no variant (kind `published`)."""
    published = _published_by_cell(report)
    names = list(dict.fromkeys(name for values, _ in published.values() for name in values))
    speeds = [None] * len(report.rows) if report.speed is None else report.speed.rows
    for row, speed in zip(report.rows, speeds, strict=True):
        values, sources = published.get(row.cell, ({}, []))
        yield {
            **_names(report, row.label, row.cell, "measured", row.variant, row.block),
            "baseline": row.is_baseline,
            "n": row.n,
            "asked": row.planned,
            "examples": report.examples,
            **_mean(row.mean),
            "compare_to": row.compare_label,
            **_difference(row.difference),
            "p_corrected": row.p_corrected,
            "outcome": row.outcome,
            "smallest_detectable": row.smallest_detectable,
            "best": row.best,
            "steps": row.cost.steps,
            "training_flops": row.cost.training_flops,
            "params": row.cost.params,
            "trained_params": row.cost.trained_params,
            "flops": row.cost.flops,
            "seconds": row.cost.seconds,
            "memory_mib": row.cost.memory_mib,
            "published_source": "; ".join(sources) or None,
            **_learning(row.learning),
            **_clusters(row.difference),
            "p_equivalence": row.p_equivalence,
            **_looks(report, row),
            **{f"metric/{name}": row.metrics.get(name) for name in report.further},
            **{f"published/{name}": values.get(name) for name in names},
            **_speed(speed),
        }
    others = dict.fromkeys(row.label for row in report.published_rows if row.cell is None)
    for label in others:
        values, sources = published[label]
        source = {"published_source": "; ".join(sources)}
        yield (
            _names(report, label, None, "published", label, None)
            | source
            | {f"published/{name}": values.get(name) for name in names}
        )


def family_rows(report: StudyReport) -> Iterator[dict[str, Any]]:
    """Yield a row per variant and family, of `FAMILY_COLUMNS`."""
    for family, rows in report.families.items():
        for row, whole in zip(rows, report.rows, strict=True):
            yield {
                **_names(report, row.label, row.cell, "measured", whole.variant, whole.block),
                "family": family,
                "n": 0 if row.mean is None else row.mean.n,
                "examples": row.examples,
                **_mean(row.mean),
                "compare_to": None if row.compare_to is None else whole.compare_label,
                **_difference(row.difference),
                "p_corrected": row.p_corrected,
                "outcome": row.outcome,
                **_learning(row.learning),
                **_clusters(row.difference),
            }


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Write rows as CSV: these columns, without any row too, then those of the first row, then what later rows add."""
    import polars as pl

    listed = list(rows)
    names = dict.fromkeys((*columns, *(column for row in listed for column in row)))
    return pl.DataFrame({name: [row.get(name) for row in listed] for name in names}, strict=False).write_csv()


def _published_by_cell(report: StudyReport) -> dict[str, tuple[dict[str, float], list[str]]]:
    """Return the published values by metric, and their sources, of each cell; methods without a cell by label.

    Where several sources have a value of the same metric, the further ones have their source behind the metric.
    """
    published: dict[str, tuple[dict[str, float], list[str]]] = {}
    for row in report.published_rows:
        values, sources = published.setdefault(row.label if row.cell is None else row.cell, ({}, []))
        values[row.metric if row.metric not in values else f"{row.metric} ({row.source})"] = row.value
        if row.source not in sources:
            sources.append(row.source)
    return published


def _looks(report: StudyReport, row: ComparisonRow) -> dict[str, Any]:
    """Return the columns of seeds until decided, empty where their number is fixed."""
    comparisons = () if report.sequential is None else report.sequential.comparisons
    found = next((each for each in comparisons if each.label == row.label), None)
    names = ("looks", "ended", "alpha_spent", "seeds_saved")
    return {name: None if found is None else getattr(found, name) for name in names}


def _names(
    report: StudyReport, label: str, cell: str | None, kind: str, variant: str, block: str | None
) -> dict[str, Any]:
    names = {"study": report.study, "label": label, "variant": variant, "block": block, "cell": cell, "kind": kind}
    return names | {"metric": report.metric}


def _speed(row: SpeedRow | None) -> dict[str, Any]:
    area = None if row is None else row.area
    low, high = area.interval if area is not None and area.interval is not None else (None, None)
    reached = None if row is None else row.reached
    mean = None if reached is None else reached.mean
    first, last = mean.interval if mean is not None and mean.interval is not None else (None, None)
    return {
        "area": None if area is None else area.mean,
        "area_low": low,
        "area_high": high,
        "steps_to_target": None if mean is None else mean.mean,
        "steps_low": first,
        "steps_high": last,
        "not_reached": None if reached is None else reached.censored,
        "target": None if row is None or row.target is None else row.target.value,
    }


def _mean(mean: MeanInterval | None) -> dict[str, Any]:
    low, high = mean.interval if mean is not None and mean.interval is not None else (None, None)
    value, sd = (None, None) if mean is None else (mean.mean, mean.sd)
    half = None if value is None or low is None or high is None else max(value - low, high - value)  # as tables have it
    return {"mean": value, "half_width": half, "low": low, "high": high, "sd": sd}


def _learning(learning: Learning | None) -> dict[str, Any]:
    if learning is None:
        return {"floor": None, "learned": None, "not_learned": None}
    return {"floor": learning.floor, "learned": len(learning.learned), "not_learned": len(learning.not_learned)}


def _clusters(difference: Difference | None) -> dict[str, Any]:
    examples = None if difference is None or difference.parts is None else difference.parts.examples
    if examples is None:
        return {"clusters": None, "design_effect": None}
    return {"clusters": examples.clusters, "design_effect": examples.design_effect}


def _difference(difference: Difference | None) -> dict[str, Any]:
    if difference is None:
        return {"pairs": 0, "difference": None, "difference_low": None, "difference_high": None, "p": None}
    low, high = difference.interval or (None, None)
    interval = {"difference_low": low, "difference_high": high}
    return {"pairs": difference.n, "difference": difference.difference, **interval, "p": difference.p}
