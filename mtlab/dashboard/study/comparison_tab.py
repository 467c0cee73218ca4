"""The tab `Comparison`: the table with its tests, estimates, families of questions, and cost against quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dash import html

from mtlab.dashboard import components, controls, report_tables
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import StudyRequest, StudyTab
from mtlab.dashboard.selection import StudySelection
from mtlab.dashboard.sweep.search_tab import draw_search_tab
from mtlab.errors import UserError
from mtlab.report.figures.cost import COSTS, plot_cost
from mtlab.report.figures.estimates import plot_estimates, plot_families
from mtlab.report.figures.speed import plot_speed
from mtlab.report.formats import captions, speed_table
from mtlab.report.formats.tables import looks_table, published_table, side_by_side_table

if TYPE_CHECKING:
    from mtlab.report.study_report import StudyReport

ORDERS = {"written": "as written", "result": "best first"}


def draw_comparison_tab(request: StudyRequest) -> StudyTab:
    """Draw the comparison of the selected variants, with the tests of the whole study; of a sweep, its search."""
    if request.summary.sweep:
        return draw_search_tab(request)
    selection = request.selection
    order = request.address.one("order", ORDERS, "written")
    cost = request.address.one("cost", COSTS, "trained_params")
    try:
        whole = request.data.report(request.summary)
    except UserError as error:
        return StudyTab([components.error_notice(f"The comparison cannot be worked out: {error}")])
    places = sort_rows(whole, selection, best_first=order == "result")
    report = select_rows(whole, [selection.kept[place] for place in places])
    table = report_tables.comparison_table(report, places, selection)
    caption = html.P(captions.table_caption(whole), className="caption")
    body: list[Component] = [components.section("Comparison", table, caption, components.note_list(whole.notes))]
    if any(row.mean is not None for row in report.rows):
        body.append(request.figure(plot_estimates(report, selection.variants), "comparison"))
        if report.families:
            body.append(request.figure(plot_families(report), "families"))
        body.append(request.figure(plot_cost(report, cost, selection.variants), "cost"))
    else:
        message = (
            "No run of these variants is finished yet. The table fills as they finish; the curves show how far they "
            "are."
        )
        body.append(components.empty_notice(message, components.command_line(request.summary.command)))
    bar = [controls.radio_buttons("order", "order", ORDERS, order), controls.dropdown("cost", "cost", COSTS, cost)]
    return StudyTab(
        [*body, *_looks(whole), *_speed(request, report, whole), *_side_by_side(whole), *_published(whole)], bar
    )


def sort_rows(report: StudyReport, selection: StudySelection, *, best_first: bool) -> list[int]:
    """Order the selected rows: places within the selection. Groups stay together, rows without a result come last."""
    groups = {label: place for place, label in enumerate(selection.labels)} if selection.group is not None else {}

    def key(place: int) -> tuple[int, float, int]:
        mean = report.rows[selection.kept[place]].mean
        rank = float("inf") if mean is None else -mean.mean if report.mode == "max" else mean.mean
        return groups.get(selection.name(selection.rows[place]), 0), rank if best_first else 0.0, place

    return sorted(range(len(selection.rows)), key=key)


def select_rows(report: StudyReport, places: Sequence[int]) -> StudyReport:
    """Keep some rows of a report, with the verdicts that they have among all rows."""
    families = {name: tuple(rows[place] for place in places) for name, rows in report.families.items()}
    speed = report.speed
    if speed is not None:
        speed = replace(speed, rows=tuple(speed.rows[place] for place in places))
    return replace(report, rows=tuple(report.rows[place] for place in places), families=families, speed=speed)


def _looks(report: StudyReport) -> list[Component]:
    if report.sequential is None:
        return []
    table = report_tables.report_table(looks_table(report.sequential), "What decided each comparison")
    caption = html.P(captions.looks_caption(report), className="caption")
    return [components.section("Seeds until decided", table, caption)]


def _speed(request: StudyRequest, report: StudyReport, whole: StudyReport) -> list[Component]:
    if report.speed is None:
        return []
    table = report_tables.report_table(
        speed_table.speed_table(report.speed), speed_table.TITLE, request.selection.variants
    )
    caption = html.P(speed_table.speed_caption(whole), className="caption")
    figure = request.figure(plot_speed(report, request.selection.variants), "speed", caption=False)
    return [components.section(speed_table.TITLE, table, caption), figure]


def _side_by_side(report: StudyReport) -> list[Component]:
    view = report.side_by_side
    if view is None:
        return []
    table = report_tables.report_table(side_by_side_table(view), "Blocks side by side")
    caption = html.P(captions.side_by_side_caption(view), className="caption")
    return [components.section("Equal lengths side by side", table, caption)]


def _published(report: StudyReport) -> list[Component]:
    parts = [html.P(line) for line in captions.published_sentences(report)]
    if report.published_rows:
        parts.append(report_tables.report_table(published_table(report), "Published results beside ours"))
    return [components.section("Published", *parts, about=captions.PUBLISHED)] if parts else []
