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

from mtlab.report.formats import captions, numbers, side_by_side, text_plot

if TYPE_CHECKING:
    from mtlab.report.side_by_side import SideBySide
    from mtlab.report.study_report import StudyReport

_STYLES = {"better": "green", "worse": "red", "baseline": "dim", "too few": "yellow"}
_GAP = 2
_PLOT = (10, 32)  #: narrowest and widest plot, in characters
_LABEL = (10, 24, 32)  #: narrowest label, longest word that it keeps whole, widest label before it folds
_VERDICT = 13  #: narrowest verdict before costs get their own table


@dataclass(frozen=True)
class TerminalColumn:
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
        return min(self.widest, max(map(len, (*self.name.split("\n"), *lines))))

    @property
    def least(self) -> int:
        """Characters that it needs."""
        return self.width if self.narrowest is None else max(len(self.name), min(self.width, self.narrowest))


def render_report(report: StudyReport, width: int = 100) -> RenderableType:
    """Draw a report.

    Args:
        report: what to draw.
        width: columns of the terminal.

    """
    title = Text.assemble((report.study, "bold"), (f": {report.why}" if report.why else "", ""))
    parts: list[RenderableType] = [title, Text(), *_main(report, width), Text()]
    parts.append(Text(captions.table_caption(report), style="dim"))
    view = report.side_by_side
    if view is not None:
        parts += [Text(), *side_by_side_tables(view, width), Text(), Text(side_by_side.caption(view), style="dim")]
    if report.published:
        parts += [Text(), *(Text(line) for line in captions.published_sentences(report))]
    if report.published_rows:
        parts += [Text(), _published(report, width), Text(), Text(captions.PUBLISHED, style="dim")]
    labels = [row.label for row in report.rows]
    further = {name: [numbers.format_score(row.metrics[name], name) for row in report.rows] for name in report.further}
    for block in _blocks("also measured", labels, further, width):
        parts += [Text(), block]
    if report.families:
        parts += [Text(), *_families(report, width), Text(captions.family_caption(report), style="dim")]
    if report.notes:
        parts += [Text(), *(Text(f"! {note}", style="yellow") for note in report.notes)]
    return Group(*parts)


def render_families(report: StudyReport, width: int = 100) -> RenderableType:
    """Draw the table by family alone."""
    if not report.families:
        return Text(captions.NO_FAMILIES)
    title = Text.assemble((report.study, "bold"), ": by family")
    return Group(title, Text(), *_families(report, width), Text(captions.family_caption(report), style="dim"))


def render_studies(view: SideBySide, width: int = 100) -> RenderableType:
    """Draw several studies as one table, each study's notes below."""
    parts: list[RenderableType] = [
        Text.assemble((report.study, "bold"), f": {report.why}" if report.why else "") for report in view.reports
    ]
    parts += [Text(), *side_by_side_tables(view, width), Text(), Text(side_by_side.caption(view), style="dim")]
    for report in view.reports:
        parts += [Text(f"! {report.study}: {note}", style="yellow") for note in report.notes]
    return Group(*parts)


def side_by_side_tables(view: SideBySide, width: int) -> list[RenderableType]:
    """Draw blocks side by side; where the width does not hold them, without differences, else one below the other."""
    header, lines = side_by_side.grid(view)
    label = _folding("\nvariant", [Text(line[0].text) for line in lines])
    columns: list[tuple[str, str, TerminalColumn]] = []
    for place, (block, name) in enumerate(header[1:], 1):
        first = header[place - 1][0] != block
        cells = [Text(line[place].text, style="bold" if line[place].best else "") for line in lines]
        columns.append((block, name, TerminalColumn(f"{block if first else ''}\n{name}", cells)))
    for kept in (columns, [each for each in columns if each[1] != "difference"]):
        shown = [label, *(column for _, _, column in kept)]
        if _needed(shown) <= width:
            return [_table(shown, width)]
    stacked: list[RenderableType] = []
    for block in dict.fromkeys(block for block, _, _ in columns):
        own = [label, *(column for name, _, column in columns if name == block)]
        stacked += [_table(own, width), Text()]
    return stacked[:-1]


def _families(report: StudyReport, width: int) -> list[RenderableType]:
    labels = [row.label for row in report.rows]
    by_family = {
        name: [numbers.add_mark(numbers.format_mean(row.mean, report.metric), row.outcome) for row in rows]
        for name, rows in report.families.items()
    }
    parts: list[RenderableType] = []
    for block in _blocks("by family", labels, by_family, width):
        parts += [block, Text()]
    return parts


def _published(report: StudyReport, width: int) -> Table:
    header, lines = captions.beside(report)
    columns = [[Text(line[place]) for line in lines] for place in range(len(header))]
    return _table(
        [
            _folding(header[0], columns[0]),
            TerminalColumn(header[1], columns[1], left=True),
            TerminalColumn(header[2], columns[2]),
            TerminalColumn(header[3], columns[3], narrowest=14),
            TerminalColumn(header[4], columns[4], narrowest=12, left=True),
        ],
        width,
    )


def _main(report: StudyReport, width: int) -> list[RenderableType]:
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


def _labels(report: StudyReport, *, stacked: bool) -> TerminalColumn:
    cells = []
    for row in report.rows:
        cell = Text(row.label, style="bold" if row.best else "")
        if row.best:
            cell.append(" ★")
        if stacked:
            cell.append(f"\n{row.n}/{row.asked} seeds", style="not bold dim")
        cells.append(cell)
    return _folding("variant", cells)


def _folding(name: str, cells: Sequence[Text]) -> TerminalColumn:
    """Make a column of labels that folds between words."""
    word = max((len(word) for cell in cells for word in cell.plain.split()), default=0)
    least, longest, widest = _LABEL
    return TerminalColumn(name, cells, narrowest=max(least, min(word, longest)), widest=widest, left=True)


def _seeds(report: StudyReport) -> TerminalColumn:
    return TerminalColumn(
        "seeds",
        [Text(f"{row.n}/{row.asked}", style="yellow" if row.n < row.asked else "") for row in report.rows],
    )


def _means(report: StudyReport) -> TerminalColumn:
    cells = [
        Text(numbers.format_mean(row.mean, report.metric), style="bold" if row.best else "") for row in report.rows
    ]
    return TerminalColumn(report.metric.rpartition("/")[2], cells)


def _plot(report: StudyReport, room: int) -> TerminalColumn:
    width = min(room, _PLOT[1])
    bounds = (0.0, 1.0) if numbers.in_points(report.metric) else None
    axis = text_plot.choose_scale([row.mean for row in report.rows if row.mean is not None], width, bounds)
    baseline = next((row.mean for row in report.rows if row.is_baseline), None)
    cells = [
        Text(text_plot.draw_interval(row.mean, axis, None if baseline is None else baseline.mean))
        for row in report.rows
    ]
    if axis is None:
        return TerminalColumn("", cells)
    ends = [numbers.format_score(end, report.metric) for end in (axis.low, axis.high)]
    return TerminalColumn(ends[0] + ends[1].rjust(width - len(ends[0])), cells, left=True)


def _differences(report: StudyReport, *, stacked: bool) -> list[TerminalColumn]:
    if not report.comparisons:
        return []
    gaps, detects, verdicts = [], [], []
    for row in report.rows:
        gap = row.difference
        value = (
            numbers.NONE
            if gap is None
            else numbers.format_interval(gap.difference, gap.interval, report.metric, sign=True)
        )
        detectable = numbers.format_detectable(row.smallest_detectable, report.metric)
        cell = Text(value)
        if stacked and row.smallest_detectable is not None:
            cell.append(f"\ndetects {detectable}", style="dim")
        gaps.append(cell)
        detects.append(Text(detectable, style="dim"))
        # Labels may hold brackets too: only what the verdict says last goes to a line of its own.
        verdict = "\n(".join(row.verdict.rsplit(" (", 1)) if stacked else row.verdict
        verdicts.append(Text(verdict, _STYLES.get(row.outcome, "")))
    folding = TerminalColumn("verdict", verdicts, narrowest=_VERDICT, left=True)
    return [TerminalColumn("difference", gaps), folding, *([] if stacked else [TerminalColumn("detects", detects)])]


def _costs(report: StudyReport) -> list[TerminalColumn]:
    rows = report.rows
    return [
        TerminalColumn("params", [Text(numbers.format_count(row.cost.trained_params)) for row in rows]),
        TerminalColumn("FLOPs", [Text(numbers.format_count(row.cost.flops)) for row in rows]),
        TerminalColumn("time", [Text(numbers.format_duration(row.cost.seconds)) for row in rows]),
    ]


def _blocks(title: str, labels: Sequence[str], columns: Mapping[str, Sequence[str]], width: int) -> list[Table]:
    """Break a table with many columns into as many as the width asks for, each with the labels."""
    first = _folding(title, [Text(label) for label in labels])
    made = [TerminalColumn(name, [Text(cell) for cell in cells]) for name, cells in columns.items()]
    filled, block = first.width, 0
    placed: list[tuple[int, TerminalColumn]] = []
    for column in made:
        if filled + _GAP + column.width > width and placed:
            filled, block = first.width, block + 1
        filled += _GAP + column.width
        placed.append((block, column))
    return [
        _table([first, *(column for _, column in group)], width)
        for _, group in groupby(placed, key=lambda pair: pair[0])
    ]


def _wanted(columns: Sequence[TerminalColumn]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _needed(columns: Sequence[TerminalColumn]) -> int:
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1)


def _table(columns: Sequence[TerminalColumn], width: int) -> Table:
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
