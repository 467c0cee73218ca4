"""A report's tables as cells, for whatever writes them: Markdown, HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtlab.report.formats import numbers

if TYPE_CHECKING:
    from mtlab.report.comparison import ComparisonRow
    from mtlab.report.study_report import StudyReport


@dataclass(frozen=True)
class TableCell:
    """What stands in one place."""

    text: str
    best: bool = False
    outcome: str = ""  #: of the comparison that the cell tells of


@dataclass(frozen=True)
class ReportTable:
    """A table: all columns but those of `left` hold numbers."""

    header: tuple[str, ...]
    lines: tuple[tuple[TableCell, ...], ...]
    left: frozenset[int]


def variant_table(report: StudyReport) -> ReportTable:
    """Lay out the table of variants."""
    head = ("variant", "seeds", report.metric, "difference", "verdict", "detects", "params", "FLOPs", "time")
    lines = tuple(_line(report, row) for row in report.rows)
    return ReportTable((*head, *report.further), lines, frozenset({0, 4}))


def family_table(report: StudyReport) -> ReportTable:
    """Lay out the table by family of questions."""
    names = tuple(report.families)
    lines = tuple(
        (TableCell(row.label), *(_family(report, name, index) for name in names))
        for index, row in enumerate(report.rows)
    )
    return ReportTable(("variant", *names), lines, frozenset({0}))


def _line(report: StudyReport, row: ComparisonRow) -> tuple[TableCell, ...]:
    gap, metric = row.difference, report.metric
    shown = numbers.NONE if gap is None else numbers.format_interval(gap.difference, gap.interval, metric, sign=True)
    texts = (
        numbers.format_detectable(row.smallest_detectable, metric),
        numbers.format_count(row.cost.trained_params),
        numbers.format_count(row.cost.flops),
        numbers.format_duration(row.cost.seconds),
        *(numbers.format_score(row.metrics[name], name) for name in report.further),
    )
    return (
        TableCell(row.label, best=row.best),
        TableCell(f"{row.n}/{row.asked}"),
        TableCell(numbers.format_mean(row.mean, metric)),
        TableCell(shown),
        TableCell(row.verdict, outcome=row.outcome),
        *map(TableCell, texts),
    )


def _family(report: StudyReport, name: str, index: int) -> TableCell:
    row = report.families[name][index]
    return TableCell(numbers.add_mark(numbers.format_mean(row.mean, report.metric), row.outcome), outcome=row.outcome)
