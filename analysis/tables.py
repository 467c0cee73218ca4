"""A report as tables for the terminal, in four layouts from wide to narrow.

One line a variant with a plot; else seeds and smallest detectable difference move to a second line; else the plot goes;
else costs get a table of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mtlab.analysis import captions, plot, words

if TYPE_CHECKING:
    from mtlab.analysis.report import Report

_STYLES = {"better": "green", "worse": "red", "baseline": "dim", "too few": "yellow"}
_GAP = 2
_PLOT = (10, 32)  #: narrowest and widest plot, in characters
_LABEL = (10, 24, 32)  #: narrowest label, longest word that it keeps whole, widest label before it folds
_VERDICT = 13  #: narrowest verdict before costs get their own table


@dataclass(frozen=True)
class Column:
    """A column of a table: its cells, and how narrow it may become by folding words."""

    name: str
    cells: Sequence[Text]
    narrowest: int | None = None  #: None: never folds
    widest: int = 1000
    left: bool = False

    @property
    def width(self) -> int:
        """Characters that it would like."""
        lines = [line for cell in self.cells for line in cell.plain.split("\n")]
        return min(self.widest, max(map(len, (self.name, *lines))))

    @property
    def least(self) -> int:
        """Characters that it needs."""
        return self.width if self.narrowest is None else max(len(self.name), min(self.width, self.narrowest))


def render(report: Report, width: int = 100) -> RenderableType:
    """Draw a report.

    Args:
        report: what to draw.
        width: columns of the terminal.

    """
    title = Text.assemble((report.study, "bold"), (f": {report.why}" if report.why else "", ""))
    parts: list[RenderableType] = [title, Text(), *_main(report, width), Text()]
    parts.append(Text(captions.caption(report), style="dim"))
    parts += [Text(line) for line in captions.published(report)]
    labels = [row.label for row in report.rows]
    further = {name: [words.score(row.metrics[name], name) for row in report.rows] for name in report.further}
    by_family = {name: [words.mean(row.mean, report.metric) for row in rows] for name, rows in report.families.items()}
    for name, columns in (("also measured", further), ("by family", by_family)):
        for block in _blocks(name, labels, columns, width):
            parts += [Text(), block]
    if by_family:
        parts += [Text(), Text(captions.FAMILIES, style="dim")]
    if report.notes:
        parts += [Text(), *(Text(f"! {note}", style="yellow") for note in report.notes)]
    return Group(*parts)


def _main(report: Report, width: int) -> list[RenderableType]:
    label, costs = _labels(report, stacked=False), _costs(report)
    drawn = sum(row.mean is not None for row in report.rows) > 1  # a dot alone shows nothing
    flat = [label, _seeds(report), _means(report), *_differences(report, stacked=False), *costs]
    room = width - _wanted(flat) - _GAP
    if not drawn and _wanted(flat) <= width:
        return [_table(flat, width)]
    if drawn and room >= _PLOT[0]:
        return [_table([*flat[:3], _plot(report, room), *flat[3:]], width)]
    label = _labels(report, stacked=True)
    stacked = [label, _means(report), *_differences(report, stacked=True), *costs]
    room = width - _needed(stacked) - _GAP
    if drawn and room >= _PLOT[0]:
        comfortable = max(_PLOT[0], width - _wanted(stacked) - _GAP)
        return [_table([*stacked[:2], _plot(report, comfortable), *stacked[2:]], width)]
    if _needed(stacked) <= width:
        return [_table(stacked, width)]
    return [_table(stacked[: -len(costs)], width), Text(), _table([_labels(report, stacked=False), *costs], width)]


def _labels(report: Report, *, stacked: bool) -> Column:
    cells = []
    for row in report.rows:
        cell = Text(row.label, style="bold" if row.best else "")
        if row.best:
            cell.append(" ★")
        if stacked:
            cell.append(f"\n{row.n}/{row.asked} seeds", style="not bold dim")
        cells.append(cell)
    return _folding("variant", cells)


def _folding(name: str, cells: Sequence[Text]) -> Column:
    """Make a column of labels that folds between words."""
    word = max((len(word) for cell in cells for word in cell.plain.split()), default=0)
    least, longest, widest = _LABEL
    return Column(name, cells, narrowest=max(least, min(word, longest)), widest=widest, left=True)


def _seeds(report: Report) -> Column:
    return Column(
        "seeds",
        [Text(f"{row.n}/{row.asked}", style="yellow" if row.n < row.asked else "") for row in report.rows],
    )


def _means(report: Report) -> Column:
    cells = [Text(words.mean(row.mean, report.metric), style="bold" if row.best else "") for row in report.rows]
    return Column(report.metric.rpartition("/")[2], cells)


def _plot(report: Report, room: int) -> Column:
    width = min(room, _PLOT[1])
    bounds = (0.0, 1.0) if words.in_points(report.metric) else None
    axis = plot.scale([row.mean for row in report.rows if row.mean is not None], width, bounds)
    baseline = next((row.mean for row in report.rows if row.is_baseline), None)
    cells = [Text(plot.line(row.mean, axis, None if baseline is None else baseline.mean)) for row in report.rows]
    if axis is None:
        return Column("", cells)
    ends = [words.score(end, report.metric) for end in (axis.low, axis.high)]
    return Column(ends[0] + ends[1].rjust(width - len(ends[0])), cells, left=True)


def _differences(report: Report, *, stacked: bool) -> list[Column]:
    if not report.comparisons:
        return []
    gaps, detects, verdicts = [], [], []
    for row in report.rows:
        gap = row.difference
        value = words.NONE if gap is None else words.plus_minus(gap.difference, gap.interval, report.metric, sign=True)
        detectable = words.score(row.smallest_detectable, report.metric)
        cell = Text(value)
        if stacked and row.smallest_detectable is not None:
            cell.append(f"\ndetects {detectable}", style="dim")
        gaps.append(cell)
        detects.append(Text(detectable, style="dim"))
        # Labels may hold brackets too: only what the verdict says last goes to a line of its own.
        verdict = "\n(".join(row.verdict.rsplit(" (", 1)) if stacked else row.verdict
        verdicts.append(Text(verdict, _STYLES.get(row.outcome, "")))
    folding = Column("verdict", verdicts, narrowest=_VERDICT, left=True)
    return [Column("difference", gaps), folding, *([] if stacked else [Column("detects", detects)])]


def _costs(report: Report) -> list[Column]:
    rows = report.rows
    return [
        Column("params", [Text(words.number(row.cost.trained_params)) for row in rows]),
        Column("FLOPs", [Text(words.number(row.cost.flops)) for row in rows]),
        Column("time", [Text(words.duration(row.cost.seconds)) for row in rows]),
    ]


def _blocks(title: str, labels: Sequence[str], columns: Mapping[str, Sequence[str]], width: int) -> list[Table]:
    """Break a table with many columns into as many as the width asks for, each with the labels."""
    first = _folding(title, [Text(label) for label in labels])
    made = [Column(name, [Text(cell) for cell in cells]) for name, cells in columns.items()]
    filled, block = first.width, 0
    placed: list[tuple[int, Column]] = []
    for column in made:
        if filled + _GAP + column.width > width and placed:
            filled, block = first.width, block + 1
        filled += _GAP + column.width
        placed.append((block, column))
    return [
        _table([first, *(column for _, column in group)], width)
        for _, group in groupby(placed, key=lambda pair: pair[0])
    ]


def _wanted(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _needed(columns: Sequence[Column]) -> int:
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1)


def _table(columns: Sequence[Column], width: int) -> Table:
    """Make the table; what is missing of the width is taken from the columns that fold."""
    # The box draws one blank between columns; padding makes up the rest of the gap.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    excess = _wanted(columns) - width
    for column in columns:
        given = max(column.least, column.width - max(0, excess))
        excess -= column.width - given
        table.add_column(
            column.name,
            justify="left" if column.left else "right",
            width=given,
            no_wrap=column.narrowest is None,
            overflow="fold",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table
