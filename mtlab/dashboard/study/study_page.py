"""The page of a study: its question and verdict, and one of several tabs for the selected part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dash import html

from mtlab.dashboard import components, controls
from mtlab.dashboard.cached_store import file_state
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import Page, PageRequest, StudyRequest, StudyTab
from mtlab.dashboard.selection import StudySelection, filter_controls
from mtlab.dashboard.study.comparison_tab import draw_comparison_tab
from mtlab.dashboard.study.layers_tabs import draw_curves_tab, draw_evolution_tab, draw_layers_tab, draw_seeds_tab
from mtlab.dashboard.study.pair_tab import draw_pair_tab
from mtlab.dashboard.study.runs_tab import draw_runs_tab
from mtlab.dashboard.summaries import StudySummary
from mtlab.dashboard.sweep.search_tab import winners_link
from mtlab.errors import UserError

#: name in the address → title, and the function that draws the tab
TABS: Mapping[str, tuple[str, Callable[[StudyRequest], StudyTab]]] = {
    "comparison": ("Comparison", draw_comparison_tab),
    "curves": ("Curves", draw_curves_tab),
    "layers": ("Layers", draw_layers_tab),
    "training": ("Over training", draw_evolution_tab),
    "seeds": ("Seeds and layers", draw_seeds_tab),
    "pair": ("Two variants", draw_pair_tab),
    "runs": ("Runs", draw_runs_tab),
}
VERDICT_SECONDS = 1.0  #: that the page waits for its verdict


def draw_study_page(request: PageRequest) -> Page:
    """Draw the page of a study.

    Raises:
        UserError: no such study.

    """
    summary = _summary(request)
    if summary.problem:
        advice = html.P("Planning the study's file again writes its plan anew; finished runs are kept:")
        notice = components.error_notice(summary.problem, advice, request.command_line("plan", "FILE"))
        return Page(summary.name, html.H1(summary.name), (), [notice])
    plan = request.data.store.plan(summary.name)
    selection = StudySelection.of(plan, request.address)
    name = request.address.one("tab", TABS, "comparison")
    study = StudyRequest(request.data, request.address, request.dark, summary=summary, plan=plan, selection=selection)
    tab = TABS[name][1](study)
    titles = {name: title for name, (title, _) in TABS.items()} | ({"comparison": "Search"} if summary.sweep else {})
    tabs = controls.radio_buttons("tab", "View", titles, name)
    filters = [] if tab.whole_study else filter_controls(plan, request.address)
    note = "" if tab.whole_study else selection.description
    bar = html.Div([*filters, *tab.controls], className="filters")
    body = [*([html.P(note, className="note")] if note else []), *tab.body]
    return Page(summary.name, _head(request, summary), (tabs, bar), body)


def study_page_state(request: PageRequest) -> object:
    """Return what the page depends on."""
    summary = _summary(request)
    store = request.data.store
    measured = [file_state(store.derived(run.id)) for run in summary.runs]  # by `mtlab intervene`, at any time
    return summary.state, measured, request.data.verdict(summary), components.time_ago(summary.changed)


def _summary(request: PageRequest) -> StudySummary:
    if len(request.address.path) != 2:
        raise UserError("name one study in the address: /study/NAME")
    return request.data.study(request.address.path[1])


def _head(request: PageRequest, summary: StudySummary) -> Component:
    verdict = request.data.verdict(summary, wait=VERDICT_SECONDS)
    winners = winners_link(request, summary)
    idle = "running" not in summary.counts and summary.counts.keys() - {"done", "pruned"}
    progress = [
        components.progress_bar(summary.counts, summary.progress),
        components.condition_counts(summary.counts),
        components.time_element(summary.changed),
    ]
    return [
        html.P("Sweep" if summary.sweep else "Study", className="kind"),
        html.H1(summary.name),
        html.P(summary.why, className="why") if summary.why else None,
        html.P([verdict or "The verdict is being worked out …", *winners], className="verdict"),
        html.Div(progress, className="summary"),
        components.command_line(summary.command) if idle else None,
    ]
