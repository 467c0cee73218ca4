"""Tables of results: a study's comparison, other tables of its report, and differing settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.address import page_href
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.selection import StudySelection, axis_value, row_filters
from mtlab.report.formats import tables
from mtlab.report.provenance import differing_settings

if TYPE_CHECKING:
    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.figures.theme import Style
    from mtlab.report.formats.tables import ReportTable, TableCell
    from mtlab.report.study_report import StudyReport

HELP = {
    "difference": "to the baseline, on shared seeds",
    "detects": "the smallest true difference that so many seeds would find",
    "params": "trained",
    "FLOPs": "forward, of one example",
    "time": "training, mean over seeds",
}


def comparison_table(report: StudyReport, places: Sequence[int], selection: StudySelection) -> Component:
    """Draw the main table of a report.

    Args:
        report: with the rows to draw, in order.
        places: of these rows within the selection.
        selection: the selected part of the study.

    """
    rows, planned = report.rows, [selection.rows[place] for place in places]
    group = selection.group
    groups = None if group is None else [f"{group}: {axis_value(row, group)}" for row in planned]
    special = {
        "variant": [_variant(row, selection) for row in rows],
        "seeds": [_seeds(report, row, line) for row, line in zip(rows, planned, strict=True)],
    }
    classes = ["best" if row.best else "" for row in rows]
    caption = f"Variants of {report.study} by {report.metric}"
    return components.data_table(_columns(tables.variant_table(report), special), caption, classes, groups)


def report_table(table: ReportTable, caption: str, styles: Mapping[str, Style] | None = None) -> Component:
    """Draw a table of a report; with styles, each line has the colour of its variant."""
    special = {}
    if styles is not None:
        first = [line[0].text for line in table.lines]
        special[table.flat_header[0]] = [_with_colour(label, styles.get(label)) for label in first]
    return components.data_table(_columns(table, special), caption)


def _with_colour(label: str, style: Style | None) -> Component:
    return label if style is None else [components.swatch(style.colour), label]


def config_differences(configs: Mapping[str, Mapping[str, Any]]) -> Component:
    """Draw the settings in which runs differ: a line for each setting, a column for each run.

    Args:
        configs: name of the run → its flattened configuration.

    """
    differing = differing_settings(configs)
    if not differing:
        return components.empty_notice("Their configurations are the same: they differ in the seed alone.")
    columns = [TableColumn("setting", [html.Code(path) for path in differing], heads=True)]
    columns += [TableColumn(name, [html.Code(values[name]) for values in differing.values()]) for name in configs]
    return components.data_table(columns, "Settings in which the runs differ")


def _columns(table: ReportTable, special: Mapping[str, Sequence[Component]] | None = None) -> list[TableColumn]:
    """Make the columns of a table, some with cells of their own by name."""
    return [
        TableColumn(
            name=name,
            cells=(special or {}).get(name, [_cell(line[at]) for line in table.lines]),
            numeric=at not in table.text_columns,
            heads=at == 0,
            help=HELP.get(name, "") if "seeds" in (special or {}) else "",
        )
        for at, name in enumerate(table.flat_header)
    ]


def _cell(cell: TableCell) -> Component:
    if not cell.outcome:
        return cell.text
    return html.Span(cell.text, className=f"outcome {cell.outcome.replace(' ', '-')}")


def _variant(row: ComparisonRow, selection: StudySelection) -> Component:
    style = selection.variants.get(row.label)
    star = html.Span(" ★", title="best mean, shown to be better or not") if row.best else None
    return [components.swatch(style.colour) if style else None, row.label, star]


def _seeds(report: StudyReport, row: ComparisonRow, planned: Mapping[str, Any]) -> Component:
    href = page_href("study", report.study, tab="runs", **row_filters(planned))
    return dcc.Link(f"{row.n}/{row.planned}", href=href, title=f"The runs of {row.label}")
