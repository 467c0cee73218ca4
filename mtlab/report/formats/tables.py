"""The tables of a report as cells: the one source for terminal, Markdown, LaTeX, HTML and dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtlab.report.formats import numbers
from mtlab.studies.looks import ENDED_BY

if TYPE_CHECKING:
    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.learning.speed import SpeedRow
    from mtlab.report.sequential.summary import SequentialSummary
    from mtlab.report.side_by_side import ReportBlock, SideBySide
    from mtlab.report.study_report import StudyReport


@dataclass(frozen=True)
class TableCell:
    """The text of a cell and its marks."""

    text: str
    best: bool = False  #: bold; in the first column with a star where the format has one
    outcome: str = ""  #: of the comparison that the cell belongs to


@dataclass(frozen=True)
class ReportTable:
    """A table of text; columns outside `text_columns` hold numbers and are aligned to the right."""

    header: tuple[str, ...]
    lines: tuple[tuple[TableCell, ...], ...]
    text_columns: frozenset[int]
    groups: tuple[str, ...] = ()  #: heading above each column, empty for none; no groups: no such line

    @property
    def flat_header(self) -> tuple[str, ...]:
        """The header in one line, with each group before the names of its columns."""
        if not self.groups:
            return self.header
        pairs = zip(self.groups, self.header, strict=True)
        return tuple(f"{group}: {name}" if group else name for group, name in pairs)

    def select(self, columns: Iterable[int]) -> ReportTable:
        """Keep some columns."""
        kept = tuple(columns)
        return ReportTable(
            tuple(self.header[at] for at in kept),
            tuple(tuple(line[at] for at in kept) for line in self.lines),
            frozenset(new for new, at in enumerate(kept) if at in self.text_columns),
            tuple(self.groups[at] for at in kept) if self.groups else (),
        )


def text_table(header: Sequence[str], lines: Iterable[Sequence[str]], text_columns: Iterable[int]) -> ReportTable:
    """Make a table of plain texts."""
    return ReportTable(tuple(header), tuple(tuple(map(TableCell, line)) for line in lines), frozenset(text_columns))


def variant_table(report: StudyReport) -> ReportTable:
    """Lay out the main table: a line for each variant."""
    header = ("variant", "seeds", report.metric, "difference", "verdict", "detects", "params", "FLOPs", "time")
    lines = tuple(_variant_line(report, row) for row in report.rows)
    return ReportTable((*header, *report.further), lines, frozenset({0, 4}))


def paper_table(report: StudyReport) -> ReportTable:
    """Lay out the main table as papers print it: marks instead of verdicts, and seeds only where they differ."""
    uneven = len({row.n for row in report.rows}) > 1
    header = ["variant", report.metric.partition("/")[2]]
    header += ["n"] * uneven + ["difference"] * report.has_verdicts + ["params", "FLOPs"]
    lines = []
    for row in report.rows:
        line = [TableCell(row.label, row.best), marked_mean(row, report.metric)]
        line += [TableCell(str(row.n))] * uneven
        line += [TableCell(difference_text(row, report.metric))] * report.has_verdicts
        costs = (numbers.format_count(row.cost.trained_params), numbers.format_count(row.cost.flops))
        lines.append((*line, *map(TableCell, costs)))
    return ReportTable(tuple(header), tuple(lines), frozenset({0}))


def family_table(report: StudyReport) -> ReportTable:
    """Lay out the table by family of questions: a line for each variant, a column for each family."""
    families = tuple(report.families)
    lines = []
    for index, row in enumerate(report.rows):
        found = [report.families[name][index] for name in families]
        means = [numbers.add_mark(numbers.format_mean(each.mean, report.metric), each.outcome) for each in found]
        cells = (TableCell(mean, outcome=each.outcome) for mean, each in zip(means, found, strict=True))
        lines.append((TableCell(row.label), *cells))
    return ReportTable(("variant", *families), tuple(lines), frozenset({0}))


def side_by_side_table(view: SideBySide) -> ReportTable:
    """Lay out blocks of the same variants, each block a group of columns.

    Columns of a block: mean with the mark of what was shown, difference where something is compared, steps, and
    training FLOPs.
    """
    header, groups = ["variant"], [""]
    for block in view.blocks:
        names = _block_columns(block, view.metric)
        header += names
        groups += [block.label] * len(names)
    lines = []
    for variant in view.variants:
        line = [TableCell(variant)]
        for block in view.blocks:
            row, width = block.rows.get(variant), len(_block_columns(block, view.metric))
            line += [TableCell(numbers.NONE)] * width if row is None else _block_cells(row, block)
        lines.append(tuple(line))
    return ReportTable(tuple(header), tuple(lines), frozenset({0}), tuple(groups))


def published_table(report: StudyReport) -> ReportTable:
    """Lay out results published of single rows beside the same rows here."""
    lines = []
    for row in report.published_rows:
        if not row.measured_here:
            ours = "not measured"
        elif row.cell is None:
            ours = "no row of this study"
        else:
            ours = "not run" if row.ours is None else numbers.format_mean(row.ours, row.metric)
        source = row.source if row.note is None else f"{row.source}; {row.note}"
        lines.append((row.label, row.metric, numbers.format_published(row.value, row.metric), ours, source))
    return text_table(("variant", "metric", "published", "ours", "source"), lines, {0, 1, 4})


def looks_table(summary: SequentialSummary) -> ReportTable:
    """Lay out what decided each comparison, and what it took."""
    most = summary.looks[-1]
    lines = [
        (
            each.label,
            "no look yet" if not each.looks else "nothing so far" if each.ended is None else ENDED_BY[each.ended],
            f"{each.n} of {most}" if each.looks else numbers.NONE,
            str(each.looks),
            f"{each.alpha_spent:.2g}",
            numbers.format_duration(each.seconds),
            numbers.NONE if each.ended is None else str(each.seeds_saved),
        )
        for each in summary.comparisons
    ]
    return text_table(("variant", "ended by", "seeds", "looks", "alpha", "time", "saved"), lines, {0, 1})


def difference_text(row: ComparisonRow | SpeedRow, metric: str) -> str:
    """Format the difference to the baseline with its interval."""
    gap = row.difference
    return numbers.NONE if gap is None else numbers.format_interval(gap.difference, gap.interval, metric, sign=True)


def marked_mean(row: ComparisonRow, metric: str) -> TableCell:
    """Format a mean with the mark of the difference that was shown."""
    return TableCell(numbers.add_mark(numbers.format_mean(row.mean, metric), row.outcome), row.best)


def _variant_line(report: StudyReport, row: ComparisonRow) -> tuple[TableCell, ...]:
    metric = report.metric
    texts = (
        numbers.format_detectable(row.smallest_detectable, metric),
        numbers.format_count(row.cost.trained_params),
        numbers.format_count(row.cost.flops),
        numbers.format_duration(row.cost.seconds),
        *(numbers.format_score(row.metrics[name], name) for name in report.further),
    )
    return (
        TableCell(row.label, best=row.best),
        TableCell(f"{row.n}/{row.planned}"),
        TableCell(numbers.format_mean(row.mean, metric)),
        TableCell(difference_text(row, metric)),
        TableCell(row.verdict, outcome=row.outcome),
        *map(TableCell, texts),
    )


def _block_columns(block: ReportBlock, metric: str) -> list[str]:
    return [metric.partition("/")[2], *(["difference"] if block.has_comparisons else []), "steps", "FLOPs"]


def _block_cells(row: ComparisonRow, block: ReportBlock) -> list[TableCell]:
    metric = block.report.metric
    difference = [TableCell(difference_text(row, metric))] if block.has_comparisons else []
    steps = numbers.NONE if row.cost.steps is None else f"{row.cost.steps:.0f}"
    flops = numbers.format_count(row.cost.training_flops)
    return [marked_mean(row, metric), *difference, TableCell(steps), TableCell(flops)]
