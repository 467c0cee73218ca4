"""A report as CSV: stable columns, numbers in the metric's own unit, nothing rounded, empty where nothing is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlab.report.study_report import StudyReport
    from mtlab.statistics import Difference, MeanInterval

Line = Mapping[str, Any]


def report_rows(report: StudyReport) -> Iterator[dict[str, Any]]:
    """Give one line per variant, then one per published method that is no variant (kind `published`)."""
    theirs: dict[str | None, dict[str, Any]] = {}
    names = list(dict.fromkeys(row.metric for row in report.published_rows))
    for found in report.published_rows:
        key = found.label if found.cell is None else found.cell
        line = theirs.setdefault(key, {"label": found.label, "cell": found.cell, "source": []})
        line[found.metric] = found.value
        line["source"] = [*line["source"], *([found.source] if found.source not in line["source"] else [])]
    for row in report.rows:
        published = theirs.get(row.cell, {})
        yield {
            **_about(report, row.label, row.cell, "measured", row.variant, row.block),
            "baseline": row.is_baseline,
            "n": row.n,
            "asked": row.asked,
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
            "published_source": "; ".join(published.get("source", [])),
            **{f"metric/{name}": row.metrics.get(name) for name in report.further},
            **{f"published/{name}": published.get(name) for name in names},
        }
    for line in theirs.values():
        if line["cell"] is None:
            values = {f"published/{name}": line.get(name) for name in names}
            source = "; ".join(line["source"])
            yield _about(report, line["label"], None, "published", line["label"], None) | {
                "published_source": source,
                **values,
            }


def family_rows(report: StudyReport) -> Iterator[dict[str, Any]]:
    """Give one line per variant and family."""
    for family, rows in report.families.items():
        for row, whole in zip(rows, report.rows, strict=True):
            yield {
                **_about(report, row.label, row.cell, "measured", whole.variant, whole.block),
                "family": family,
                "n": 0 if row.mean is None else row.mean.n,
                "examples": row.examples,
                **_mean(row.mean),
                "compare_to": whole.compare_label,
                **_difference(row.difference),
                "p_corrected": row.p_corrected,
                "outcome": row.outcome,
            }


def write_csv(rows: Iterator[Line] | Sequence[Line]) -> str:
    """Write lines with one header: the columns of the first line, then what later ones add."""
    found = list(rows)
    columns = list(dict.fromkeys(column for row in found for column in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _written(value) for key, value in row.items()} for row in found)
    return stream.getvalue()


def _about(
    report: StudyReport, label: str, cell: str | None, kind: str, variant: str, block: str | None
) -> dict[str, Any]:
    named = {"study": report.study, "label": label, "variant": variant, "block": block, "cell": cell, "kind": kind}
    return named | {"metric": report.metric}


def _mean(found: MeanInterval | None) -> dict[str, Any]:
    low, high = found.interval if found is not None and found.interval is not None else (None, None)
    half = None if low is None or high is None else (high - low) / 2
    mean, sd = (None, None) if found is None else (found.mean, found.sd)
    return {"mean": mean, "half_width": half, "low": low, "high": high, "sd": sd}


def _difference(found: Difference | None) -> dict[str, Any]:
    low, high = found.interval if found is not None and found.interval is not None else (None, None)
    value, p = (None, None) if found is None else (found.difference, found.p)
    return {
        "pairs": 0 if found is None else found.n,
        "difference": value,
        "difference_low": low,
        "difference_high": high,
        "p": p,
    }


def _written(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value
