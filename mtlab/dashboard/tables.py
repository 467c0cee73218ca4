"""Tables of results: a study's comparison, and runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.address import page_href
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.selection import StudySelection, axis_value, row_filters
from mtlab.report.formats import numbers, tables

HELP = {
    "difference": "to the baseline, on shared seeds",
    "detects": "the smallest true difference that so many seeds would find",
    "params": "trained",
    "FLOPs": "forward, of one example",
    "time": "training, mean over seeds",
}

if TYPE_CHECKING:
    from mtlab.report.comparison import ComparisonRow
    from mtlab.report.formats.tables import TableCell
    from mtlab.report.study_report import StudyReport


def comparison_table(report: StudyReport, places: Sequence[int], scope: StudySelection) -> Component:
    """Draw the rows of a report.

    Args:
        report: with the rows that are shown, in order.
        places: of the rows in the scope's part of the plan.
        scope: what is looked at.

    """
    rows, planned, laid = report.rows, [scope.rows[place] for place in places], tables.variant_table(report)
    groups = None if scope.group is None else [f"{scope.group}: {axis_value(row, scope.group)}" for row in planned]
    own = {
        "variant": [_variant(row, scope) for row in rows],
        "seeds": [_seeds(report, row, line) for row, line in zip(rows, planned, strict=True)],
    }
    columns = [
        TableColumn(
            name=name,
            cells=own.get(name, [_cell(line[place]) for line in laid.lines]),
            numeric=place not in laid.left,
            heads=name == "variant",
            help=HELP.get(name, ""),
        )
        for place, name in enumerate(laid.header)
    ]
    classes = ["best" if row.best else "" for row in rows]
    return components.data_table(columns, f"Variants of {report.study} by {report.metric}", classes, groups)


def blocks(header: Sequence[tuple[str, str]], lines: Sequence[Sequence[Any]], caption: str) -> Component:
    """Draw blocks side by side, see `side_by_side.tables`."""
    columns = [
        TableColumn(
            ": ".join(word for word in names if word), [line[place].text for line in lines], place > 0, place == 0
        )
        for place, names in enumerate(header)
    ]
    return components.data_table(columns, caption)


def config_differences(configs: Mapping[str, Mapping[str, Any]]) -> Component:
    """Draw where configurations differ: a line for each setting, a column for each run.

    Args:
        configs: name of the run → its flat configuration.

    """
    paths = [
        path for path in dict.fromkeys(path for flat in configs.values() for path in flat) if _differs(path, configs)
    ]
    if not paths:
        return components.empty_notice("Their configurations are the same: they differ in the seed alone.")
    columns = [TableColumn("setting", [html.Code(path) for path in paths], heads=True)]
    columns += [TableColumn(name, [_setting(flat, path) for path in paths]) for name, flat in configs.items()]
    return components.data_table(columns, "Settings in which the runs differ")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write a configuration as dotted paths and values.

    >>> flat({"train": {"lr": 0.1, "length": {"steps": 5}}, "seed": 0})
    {'train.lr': 0.1, 'train.length.steps': 5, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found


def _variant(row: ComparisonRow, scope: StudySelection) -> Component:
    style = scope.variants.get(row.label)
    star = html.Span(" ★", title="best mean, shown to be better or not") if row.best else None
    return [components.swatch(style.colour) if style else None, row.label, star]


def _seeds(report: StudyReport, row: ComparisonRow, planned: Mapping[str, Any]) -> Component:
    href = page_href("study", report.study, tab="runs", **row_filters(planned))
    return dcc.Link(f"{row.n}/{row.asked}", href=href, title=f"The runs of {row.label}")


def _cell(cell: TableCell) -> Component:
    if not cell.outcome:
        return cell.text
    return html.Span(cell.text, className=f"outcome {cell.outcome.replace(' ', '-')}")


def _differs(path: str, configs: Mapping[str, Mapping[str, Any]]) -> bool:
    return len({components.format_setting(flat.get(path, "")) for flat in configs.values()}) > 1


def _setting(flat: Mapping[str, Any], path: str) -> Component:
    return html.Code(components.format_setting(flat[path])) if path in flat else numbers.NONE
