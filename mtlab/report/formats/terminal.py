"""A report for the terminal.

The main table has four layouts, from wide to narrow: one line a variant with a plot; seeds and smallest detectable
difference in a second line; the same without the plot; costs in a table of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mtlab.report.comparison.seed_results import metric_bounds
from mtlab.report.formats import captions, numbers, speed_table, tables, text_plot

if TYPE_CHECKING:
    from mtlab.report.formats.tables import ReportTable
    from mtlab.report.sequential.summary import SequentialSummary
    from mtlab.report.side_by_side import SideBySide
    from mtlab.report.study_report import StudyReport

_STYLES = {
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
    "baseline": "dim",
    "too few": "yellow",
    "not learned": "yellow",
    "baseline not learned": "yellow",
    "blind": "dim",
}
_GAP = 2
_NAMES = 12  #: characters that names of rows keep at least, where they are as long
_PLOT = (10, 32)  #: narrowest and widest plot, in characters
_LABEL = (10, 24, 32)  #: narrowest label, longest word that it keeps whole, widest label before it folds
_VERDICT = 13  #: narrowest verdict before costs get their own table


@dataclass(frozen=True)
class TerminalColumn:
    """A column of a table, and how narrow it may become by folding words."""

    name: str
    cells: Sequence[Text]
    narrowest: int | None = None  #: None: never folds
    widest: int = 1000
    left: bool = False

    @property
    def width(self) -> int:
        """Characters that it takes without folding."""
        lines = [line for cell in self.cells for line in cell.plain.split("\n")]
        return min(self.widest, max(map(len, (*self.name.split("\n"), *lines))))

    @property
    def least(self) -> int:
        """Characters that it takes at least."""
        return self.width if self.narrowest is None else max(len(self.name), min(self.width, self.narrowest))


def render_report(report: StudyReport, width: int = 100) -> RenderableType:
    """Lay a report out for a terminal of `width` columns."""
    parts: list[RenderableType] = [_title(report), Text(), *_main(report, width), Text()]
    parts.append(_caption(captions.table_caption(report)))
    if report.sequential is not None:
        parts += [Text(), _looks(report.sequential, width), Text(), _caption(captions.looks_caption(report))]
    view = report.side_by_side
    if view is not None:
        parts += [Text(), *_side_by_side(view, width), Text(), _caption(captions.side_by_side_caption(view))]
    if report.published:
        parts += [Text(), *map(Text, captions.published_sentences(report))]
    if report.published_rows:
        parts += [Text(), _published(report, width), Text(), _caption(captions.PUBLISHED)]
    if report.further:
        table = tables.variant_table(report)
        size = len(table.header)
        further = table.select((0, *range(size - len(report.further), size)))
        for part in _split("also measured", further, width):
            parts += [Text(), part]
    if report.families:
        parts += [Text(), *_families(report, width)]
    if report.speed is not None:
        parts += [Text(), _speed(report, width), Text(), _caption(speed_table.speed_caption(report))]
    if report.notes:
        parts += [Text(), *warnings(report.notes)]
    return Group(*parts)


def render_families(report: StudyReport, width: int = 100) -> RenderableType:
    """Lay out the table by family alone."""
    if not report.families:
        return Text(captions.NO_FAMILIES)
    return Group(Text.assemble((report.study, "bold"), ": by family"), Text(), *_families(report, width))


def render_studies(view: SideBySide, width: int = 100) -> RenderableType:
    """Lay out several studies as one table, each study's notes below."""
    parts: list[RenderableType] = [*map(_title, view.reports), Text(), *_side_by_side(view, width), Text()]
    parts.append(_caption(captions.side_by_side_caption(view)))
    for report in view.reports:
        parts += warnings(f"{report.study}: {note}" for note in report.notes)
    return Group(*parts)


def simple_table(table: ReportTable, width: int) -> Table:
    """Lay out a table whose columns of text fold as the width asks for; of those of numbers, the headers alone."""
    folded = tuple(name.replace("/", "/\n").replace(" ", "\n") for name in table.header)
    for header, least in ((table.header, _NAMES), (folded, _NAMES), (folded, _NAMES // 2)):
        columns = []
        for at, name in enumerate(header):
            text = at in table.text_columns
            columns.append(TerminalColumn(name, _column_texts(table, at), narrowest=least if text else None, left=text))
        if _needed(columns) <= width:
            break
    return _table(columns, width)


def _title(report: StudyReport) -> Text:
    return Text.assemble((report.study, "bold"), f": {report.why}" if report.why else "")


def _caption(text: str) -> Text:
    return Text(text, style="dim")


def warnings(notes: Iterable[str]) -> list[Text]:
    """Mark notes on the validity of what stands above them."""
    return [Text(f"! {note}", style="yellow") for note in notes]


def _column_texts(table: ReportTable, at: int) -> list[Text]:
    return [Text(line[at].text, style="bold" if line[at].best else "") for line in table.lines]


def _side_by_side(view: SideBySide, width: int) -> list[RenderableType]:
    """Lay blocks out side by side; where the width is too small, without differences, else one below the other."""
    table = tables.side_by_side_table(view)
    label = _folding("\nvariant", _column_texts(table, 0))
    columns: list[tuple[str, str, TerminalColumn]] = []
    for at, (group, name) in enumerate(zip(table.groups, table.header, strict=True)):
        if at:
            heading = f"{group if table.groups[at - 1] != group else ''}\n{name}"
            columns.append((group, name, TerminalColumn(heading, _column_texts(table, at))))
    for kept in (columns, [each for each in columns if each[1] != "difference"]):
        shown = [label, *(column for _, _, column in kept)]
        if _needed(shown) <= width:
            return [_table(shown, width)]
    stacked: list[RenderableType] = []
    for group in dict.fromkeys(group for group, _, _ in columns):
        own = [label, *(column for name, _, column in columns if name == group)]
        stacked += [_table(own, width), Text()]
    return stacked[:-1]


def _families(report: StudyReport, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for part in _split("by family", tables.family_table(report), width):
        parts += [part, Text()]
    return [*parts, _caption(captions.family_caption(report))]


def _looks(summary: SequentialSummary, width: int) -> Table:
    table = tables.looks_table(summary)
    variant, ended, *rest = (_column_texts(table, at) for at in range(len(table.header)))
    numbers_ = [TerminalColumn(name, cells) for name, cells in zip(table.header[2:], rest, strict=True)]
    columns = [_folding("variant", variant), TerminalColumn("ended by", ended, narrowest=10, left=True), *numbers_]
    return _table(columns, width)


def _speed(report: StudyReport, width: int) -> Table:
    assert report.speed is not None
    table = speed_table.speed_table(report.speed)
    columns = [_folding(speed_table.TITLE.lower(), _column_texts(table, 0))]
    for at, name in enumerate(table.header[1:], 1):
        folds = 12 if at in table.text_columns else None
        columns.append(TerminalColumn(name, _column_texts(table, at), narrowest=folds, left=at in table.text_columns))
    return _table(columns, width)


def _published(report: StudyReport, width: int) -> Table:
    table = tables.published_table(report)
    variant, metric, published, ours, source = (_column_texts(table, at) for at in range(5))
    columns = [
        _folding("variant", variant),
        TerminalColumn("metric", metric, left=True),
        TerminalColumn("published", published),
        TerminalColumn("ours", ours, narrowest=14),
        TerminalColumn("source", source, narrowest=12, left=True),
    ]
    return _table(columns, width)


def _main(report: StudyReport, width: int) -> list[RenderableType]:
    label, costs = _labels(report, stacked=False), _costs(report)
    plotted = sum(row.mean is not None for row in report.rows) > 1  # a single dot shows nothing
    flat = [label, _seeds(report), _means(report), *_differences(report, stacked=False), *costs]
    room = width - _wanted(flat) - _GAP
    if not plotted and _wanted(flat) <= width:
        return [_table(flat, width)]
    if plotted and room >= _PLOT[0]:
        return [_table([*flat[:3], _plot(report, room), *flat[3:]], width)]
    label = _labels(report, stacked=True)
    stacked = [label, _means(report), *_differences(report, stacked=True), *costs]
    room = width - _needed(stacked) - _GAP
    if plotted and room >= _PLOT[0]:
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
            cell.append(f"\n{row.n}/{row.planned} seeds", style="not bold dim")
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
        [Text(f"{row.n}/{row.planned}", style="yellow" if row.n < row.planned else "") for row in report.rows],
    )


def _means(report: StudyReport) -> TerminalColumn:
    cells = [
        Text(numbers.format_mean(row.mean, report.metric), style="bold" if row.best else "") for row in report.rows
    ]
    return TerminalColumn(report.metric.rpartition("/")[2], cells)


def _plot(report: StudyReport, room: int) -> TerminalColumn:
    width = min(room, _PLOT[1])
    bounds = metric_bounds(report.metric, [score for row in report.rows for score in row.results.values()])
    axis = text_plot.choose_scale([row.mean for row in report.rows if row.mean is not None], width, bounds)
    baseline = next((row.mean for row in report.rows if row.is_baseline), None)
    cells = [
        Text(text_plot.draw_interval(row.mean, axis, None if baseline is None else baseline.mean, row.results.values()))
        for row in report.rows
    ]
    if axis is None:
        return TerminalColumn("", cells)
    ends = [numbers.format_score(end, report.metric) for end in (axis.low, axis.high)]
    return TerminalColumn(ends[0] + ends[1].rjust(width - len(ends[0])), cells, left=True)


def _differences(report: StudyReport, *, stacked: bool) -> list[TerminalColumn]:
    if not report.has_verdicts:
        return []
    differences, detectables, verdicts = [], [], []
    for row in report.rows:
        detectable = numbers.format_detectable(row.smallest_detectable, report.metric)
        cell = Text(tables.difference_text(row, report.metric))
        if stacked and row.smallest_detectable is not None:
            cell.append(f"\ndetects {detectable}", style="dim")
        differences.append(cell)
        detectables.append(Text(detectable, style="dim"))
        # Labels may hold brackets too: only the last bracket of the verdict goes to a line of its own.
        verdict = "\n(".join(row.verdict.rsplit(" (", 1)) if stacked else row.verdict
        verdicts.append(Text(verdict, _STYLES.get(row.outcome, "")))
    columns = [
        TerminalColumn("difference", differences),
        TerminalColumn("verdict", verdicts, narrowest=_VERDICT, left=True),
    ]
    return columns if stacked else [*columns, TerminalColumn("detects", detectables)]


def _costs(report: StudyReport) -> list[TerminalColumn]:
    rows = report.rows
    return [
        TerminalColumn("params", [Text(numbers.format_count(row.cost.trained_params)) for row in rows]),
        TerminalColumn("FLOPs", [Text(numbers.format_count(row.cost.flops)) for row in rows]),
        TerminalColumn("time", [Text(numbers.format_duration(row.cost.seconds)) for row in rows]),
    ]


def _split(title: str, table: ReportTable, width: int) -> list[Table]:
    """Break a table with many columns into as many as the width asks for, each with the labels."""
    first = _folding(title, _column_texts(table, 0))
    parts: list[list[TerminalColumn]] = []
    filled = width + 1
    for at, name in enumerate(table.header[1:], 1):
        column = TerminalColumn(name, _column_texts(table, at))
        if filled + _GAP + column.width > width:
            filled = first.width
            parts.append([first])
        filled += _GAP + column.width
        parts[-1].append(column)
    return [_table(columns, width) for columns in parts]


def _wanted(columns: Sequence[TerminalColumn]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _needed(columns: Sequence[TerminalColumn]) -> int:
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1)


def _table(columns: Sequence[TerminalColumn], width: int) -> Table:
    """Make the table; columns that fold give up what the width lacks."""
    # The box draws one blank between columns; padding makes up the rest of the gap.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    excess = _wanted(columns) - width
    for column in columns:
        given = max(column.least, column.width - max(0, excess))
        excess -= column.width - given
        table.add_column(
            Text(column.name),
            justify="left" if column.left else "right",
            width=given,
            no_wrap=column.narrowest is None,
            overflow="fold",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table
