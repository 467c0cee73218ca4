"""The tables that are sent to trackers: the layers that managers draw on, and the comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mtlab.recording.reader import MODALITIES, Kind, Layers, Modality, Worth
from mtlab.report.recordings import StudyRun
from mtlab.report.sync.run_data import row_labels
from mtlab.tracking.base import TrackerTable

if TYPE_CHECKING:
    from mtlab.report.study_report import StudyReport

LAYERS = "layers/table"
COMPARISON = "comparison/table"
LAYERS_COLUMNS = (
    "variant", "seed", "modality", "layer", "from", "level", "weight", "contribution", "differs by token",
    "differs by example", "metric without it", "drop without it",
)  # fmt: skip


def layers_table(found: Mapping[StudyRun, Layers], worths: Mapping[StudyRun, Worth]) -> TrackerTable | None:
    """List the layers that managers draw on: a line per run, modality, cross-modal layer and row; None without any.

    Spreads over tokens and examples are those of contributions, or of weights where a manager has no contributions.
    """
    lines = [
        [source.label, source.seed, modality, depth + 1, *line]
        for source, layers in found.items()
        for modality in MODALITIES
        for depth in sorted({*layers.depths("weights", modality), *layers.depths("contributions", modality)})
        for line in _manager_lines(layers, worths.get(source), modality, depth)
    ]
    return TrackerTable(LAYERS_COLUMNS, lines) if lines else None


def _manager_lines(layers: Layers, worth: Worth | None, modality: Modality, depth: int) -> Iterator[list[Any]]:
    weights, shares = (layers.rows(kind, modality, depth) for kind in ("weights", "contributions"))
    kind: Kind = "weights" if shares is None else "contributions"
    spreads = (layers.rows(kind, modality, depth, what) for what in ("tokens", "examples"))
    columns = [weights, shares, *spreads]
    size = max(len(values) for values in columns if values is not None)
    for place, label in enumerate(row_labels(layers, f"{kind}/{modality}/{depth}", size)):
        level = int(label.removeprefix("level ")) if label.startswith("level ") else None
        without = drop = None
        if worth is not None and level is not None:
            without, drop = worth.without.get(modality, {}).get(level), worth.drop(modality, level)
        numbers = [None if values is None else float(values[place]) for values in columns]
        yield [label, level, *numbers, without, drop]


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
