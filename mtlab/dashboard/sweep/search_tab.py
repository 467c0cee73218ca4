"""The first tab of a sweep's page: what the search of each variant has found, and where its winners are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import dcc, html

from mtlab.dashboard import components, report_tables
from mtlab.dashboard.address import page_href
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import PageRequest, StudyRequest, StudyTab
from mtlab.dashboard.summaries import StudySummary
from mtlab.errors import UserError
from mtlab.report.figures import theme
from mtlab.report.figures.sweep.best_so_far import plot_best_so_far
from mtlab.report.formats import sweep_tables
from mtlab.report.sweep_report import build_sweep_report
from mtlab.runs.store import final_name
from mtlab.sweeps.stored import open_sweep


def draw_search_tab(request: StudyRequest) -> StudyTab:
    """Draw what was found for each variant, the best settings and the best values so far.

    Trials are not compared with one another on test data: the study of the winners does that.
    """
    try:
        body = _found(request, request.plan)
    except UserError as error:
        body = [components.error_notice(f"The search cannot be read: {error}")]
    name = request.summary.name
    return StudyTab(
        [
            *body,
            components.section(
                "Further views",
                html.P("One page with all figures of the search:"),
                request.command_line("sweep", "report", name),
                html.P("Trial by trial, in Optuna's own views:"),
                request.command_line("sweep", "dashboard", name),
            ),
        ],
        whole_study=True,
    )


def winners_link(request: PageRequest, summary: StudySummary) -> list[Component]:
    """Return a sentence with a link to the study of a sweep's winners; empty where there is none."""
    final = final_name(summary.name)
    if not summary.sweep or final not in request.data.store.study_names():
        return []
    return [" Its winners are compared in ", dcc.Link(final, href=page_href("study", final)), "."]


def _found(request: StudyRequest, plan: Mapping[str, Any]) -> list[Component]:
    with open_sweep(request.data.store, plan) as (_, searches):
        report = build_sweep_report(request.data.store, plan, searches, final=False)
        styles = theme.assign_styles(found.label for found in searches)
        figure = plot_best_so_far(searches, styles)
    caption = html.P(sweep_tables.sweep_caption(report), className="caption")
    found = report_tables.report_table(sweep_tables.sweep_table(report), "The search of each variant", styles)
    settings = report_tables.report_table(
        sweep_tables.best_settings_table(report), "The best settings of each variant", styles
    )
    return [
        components.section("What was found", found, caption, components.note_list(report.notes)),
        components.section("Settings of the best", settings),
        request.figure(figure, "best"),
    ]
