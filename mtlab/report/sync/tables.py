"""The tables that are sent to trackers: the layers that managers draw on, and the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mtlab.recording.reader import Layers, Worth
from mtlab.report.layer_table import columns_of, layer_rows
from mtlab.report.recordings import StudyRun
from mtlab.tracking.base import TrackerTable

if TYPE_CHECKING:
    from mtlab.report.study_report import StudyReport

LAYERS = "layers/table"  #: of one run
ALL_LAYERS = "comparison/layers"  #: of all runs; under the runs' own key, a panel of all tables would hold rows twice
COMPARISON = "comparison/table"


def layers_table(found: Mapping[StudyRun, Layers], worths: Mapping[StudyRun, Worth]) -> TrackerTable | None:
    """List the layers that managers draw on, as `mtlab.report.layer_table.layer_rows`; None without any."""
    rows = [row for source, layers in found.items() for row in layer_rows(source, layers, worths.get(source))]
    columns = columns_of(rows)
    return TrackerTable(columns, [[row.get(name) for name in columns] for row in rows]) if rows else None


def comparison_table(report: StudyReport) -> TrackerTable:
    """List the variants of a report, a line each."""
    columns = (
        "variant", "seeds", report.metric, "low", "high", "not learned", "floor", "compared with", "difference",
        "difference low", "difference high", "p", "p corrected", "smallest detectable", "verdict", "trained parameters",
        "FLOPs of an example", "seconds", *report.further,
    )  # fmt: skip
    lines = []
    for row in report.rows:
        mean, difference = row.mean, row.difference
        score = (None,) * 3 if mean is None else (mean.mean, *(mean.interval or (None, None)))
        learned = (None, None) if row.learning is None else (len(row.learning.not_learned), row.learning.floor)
        against = (None,) * 4
        if difference is not None:
            against = (difference.difference, *(difference.interval or (None, None)), difference.p)
        cost = (row.cost.trained_params, row.cost.flops, row.cost.seconds)
        evidence = (row.p_corrected, row.smallest_detectable, row.verdict)
        further = (row.metrics.get(name) for name in report.further)
        lines.append([row.label, row.n, *score, *learned, row.compare_label, *against, *evidence, *cost, *further])
    return TrackerTable(columns, lines)
