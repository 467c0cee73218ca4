"""Sets variants side by side that were trained for different lengths, or in several studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.study_report import StudyReport

LENGTH = "train.length"
MODEL = ("manager", "text", "vision", "model")  #: keys of a study that say which model is trained


@dataclass(frozen=True)
class ReportBlock:
    """Variants that were trained equally long, in one study."""

    label: str
    report: StudyReport
    rows: Mapping[str, ComparisonRow]  #: by variant

    @property
    def has_comparisons(self) -> bool:
        """Whether any row is compared with a baseline."""
        return any(row.compare_to is not None for row in self.rows.values())


@dataclass(frozen=True)
class SideBySide:
    """Blocks of variants; a variant may be missing in some of them."""

    metric: str
    variants: tuple[str, ...]
    blocks: tuple[ReportBlock, ...]

    @property
    def reports(self) -> tuple[StudyReport, ...]:
        """The reports of the blocks, each once."""
        return tuple({id(block.report): block.report for block in self.blocks}.values())


def compare_lengths(report: StudyReport) -> SideBySide | None:
    """Set a study's variants side by side by length of training; None where that is no axis."""
    labels = list(dict.fromkeys(row.block for row in report.rows if row.block is not None))
    if len(labels) < 2:
        return None
    blocks = [
        ReportBlock(label, report, {row.variant: row for row in report.rows if row.block in (label, None)})
        for label in labels
    ]
    return SideBySide(report.metric, _variants(blocks), tuple(blocks))


def compare_studies(reports: Sequence[StudyReport]) -> SideBySide:
    """Set several studies side by side, each with its own blocks; rows of the same name share a line.

    Raises:
        UserError: their verdict metrics differ, or a study is named twice.

    """
    first = reports[0]
    for other in reports[1:]:
        if other.metric != first.metric:
            raise UserError(
                f"the verdict of {first.study} is on {first.metric}, that of {other.study} on {other.metric}: "
                "side by side they need one metric",
                key="metrics.verdict",
            )
    names = [report.study for report in reports]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(names)}: name each study once", file="command line")
    blocks: list[ReportBlock] = []
    for report in reports:
        own = compare_lengths(report)
        if own is None:
            blocks.append(ReportBlock(report.study, report, {row.variant: row for row in report.rows}))
        else:
            blocks += [replace(block, label=f"{report.study}, {block.label}") for block in own.blocks]
    return SideBySide(first.metric, _variants(blocks), tuple(blocks))


def block_label(row: Mapping[str, Any]) -> str | None:
    """Return the label of a row's length of training; None where that is no axis."""
    labels = [label for axis, label in row["axis_labels"].items() if _is_length(axis, row["axes"][axis])]
    return " · ".join(label.removeprefix("length ") for label in labels) or None


def variant_label(row: Mapping[str, Any]) -> str:
    """Return the label of a row without its length of training."""
    labels = row["axis_labels"]
    if not labels:
        return str(row["label"])
    return " · ".join(label for axis, label in labels.items() if not _is_length(axis, row["axes"][axis])) or "base"


def length_axis(axes: Mapping[str, Any]) -> str | None:
    """Return which of a row's axes sets the length of training; None without any."""
    return next((axis for axis, value in axes.items() if _sets_length(_paths(axis, value))), None)


def _is_length(axis: str, value: Any) -> bool:
    """Tell whether an axis sets the length of training, and nothing of the model: else it names variants."""
    paths = _paths(axis, value)
    return _sets_length(paths) and not any(path.partition(".")[0] in MODEL for path in paths)


def _sets_length(paths: Iterable[str]) -> bool:
    return any(path == LENGTH or path.startswith(f"{LENGTH}.") for path in paths)


def _paths(axis: str, value: Any) -> tuple[str, ...]:
    """Return the settings that an axis moves."""
    return tuple(value) if isinstance(value, Mapping) and axis.partition(".")[0] != "train" else (axis,)


def _variants(blocks: Sequence[ReportBlock]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(variant for block in blocks for variant in block.rows))
