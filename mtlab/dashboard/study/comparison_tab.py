"""The comparison: the table with its tests, the same as pictures, by family of questions, and cost against quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dash import html

from mtlab.dashboard import components, controls, tables
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.pane import StudyRequest, StudyTab
from mtlab.dashboard.selection import StudySelection
from mtlab.errors import UserError
from mtlab.report.formats import captions, side_by_side

if TYPE_CHECKING:
    from mtlab.report.study_report import StudyReport

COSTS = {
    "trained_params": "trained parameters",
    "flops": "FLOPs of an example",
    "training_flops": "FLOPs of the training",
    "seconds": "time",
    "memory_mib": "memory",
}
ORDERS = {"written": "as written", "result": "best first"}


def draw_comparison_tab(studied: StudyRequest) -> StudyTab:
    """Draw the comparison."""
    from mtlab.report.figures.by_family import plot_families
    from mtlab.report.figures.cost import plot_cost
    from mtlab.report.figures.estimates import plot_estimates

    if studied.card.sweep:
        return StudyTab([_search(studied)])
    view, scope = studied.view, studied.scope
    order, axis = view.one("order", ORDERS, "written"), view.one("cost", COSTS, "trained_params")
    try:
        whole = studied.look.data.report(studied.card)
    except UserError as error:
        return StudyTab([components.error_notice(f"The comparison cannot be worked out: {error}")])
    places = ordered(whole, scope, best_first=order == "result")
    report = part(whole, [scope.kept[place] for place in places])
    told = html.P(captions.table_caption(whole), className="caption")
    body: list[Component] = [
        components.section(
            "Comparison", tables.comparison_table(report, places, scope), told, components.note_list(whole.notes)
        )
    ]
    if any(row.mean is not None for row in report.rows):
        body.append(studied.figure(plot_estimates(report, scope.variants), "comparison", caption=False))
        if report.families:
            body.append(studied.figure(plot_families(report), "families"))
        body.append(studied.figure(plot_cost(report, axis, scope.variants), "cost"))  # type: ignore[arg-type] # of `COSTS`
    else:
        body.append(_nothing(studied))
    switches = [controls.radio_buttons("order", "order", ORDERS, order), controls.dropdown("cost", "cost", COSTS, axis)]
    return StudyTab([*body, *_blocks(whole), *_published(whole)], switches)


def ordered(report: StudyReport, scope: StudySelection, *, best_first: bool) -> list[int]:
    """Order the rows that are looked at: places in the scope's part of the plan.

    Groups stay together; those without a result come last.
    """
    groups = {label: place for place, label in enumerate(scope.labels)} if scope.group is not None else {}

    def key(place: int) -> tuple[int, float, int]:
        mean = report.rows[scope.kept[place]].mean
        rank = float("inf") if mean is None else -mean.mean if report.mode == "max" else mean.mean
        return groups.get(scope.name(scope.rows[place]), 0), rank if best_first else 0.0, place

    return sorted(range(len(scope.rows)), key=key)


def part(report: StudyReport, places: Sequence[int]) -> StudyReport:
    """Take some rows of a report, as they were judged among all."""
    families = {name: tuple(rows[place] for place in places) for name, rows in report.families.items()}
    return replace(report, rows=tuple(report.rows[place] for place in places), families=families)


def _search(studied: StudyRequest) -> Component:
    name = studied.card.name
    return components.empty_notice(
        "This study searches: its trials are not compared with one another. What it has found for each variant:",
        components.command_line(f"mtlab sweep report {name}"),
        html.P("How the search went, trial by trial:"),
        components.command_line(f"mtlab sweep dashboard {name}"),
    )


def _nothing(studied: StudyRequest) -> Component:
    return components.empty_notice(
        "No run of these variants is finished yet. The table fills as they finish; the curves show how far they are.",
        components.command_line(studied.card.command),
    )


def _blocks(report: StudyReport) -> list[Component]:
    view = report.side_by_side
    if view is None:
        return []
    told = html.P(side_by_side.caption(view), className="caption")
    return [
        components.section(
            "Equal lengths side by side", tables.blocks(*side_by_side.grid(view), "Blocks side by side"), told
        )
    ]


def _published(report: StudyReport) -> list[Component]:
    told = [html.P(line) for line in captions.published_sentences(report)]
    header, lines = captions.beside(report)
    if lines:
        columns = [
            TableColumn(name, [line[place] for line in lines], heads=place == 0, numeric=place in (2, 3))
            for place, name in enumerate(header)
        ]
        told.append(components.data_table(columns, "Published results beside ours"))
    return [components.section("Published", *told, about=captions.PUBLISHED)] if told else []
