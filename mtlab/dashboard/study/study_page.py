"""The page of a study: its question and verdict, and below them one pane of several, for the part that is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dash import html

from mtlab.dashboard import components, controls, selection
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import Page, PageRequest
from mtlab.dashboard.pane import StudyRequest, StudyTab
from mtlab.dashboard.study import comparison_tab, curves, layers_tab, pair_tab, runs_tab, seeds, training_tab
from mtlab.dashboard.summaries import StudySummary
from mtlab.errors import UserError

PANES: Mapping[str, tuple[str, Callable[[StudyRequest], StudyTab]]] = {
    "comparison": ("Comparison", comparison_tab.draw_comparison_tab),
    "curves": ("Curves", curves.draw_curves_tab),
    "layers": ("Layers", layers_tab.draw_layers_tab),
    "training": ("Over training", training_tab.draw_training_tab),
    "seeds": ("Seeds and layers", seeds.draw_seeds_tab),
    "pair": ("Two variants", pair_tab.draw_pair_tab),
    "runs": ("Runs", runs_tab.draw_runs_tab),
}
PATIENCE = 1.0  #: seconds that the page waits for its verdict


def draw_study_page(look: PageRequest) -> Page:
    """Draw the page.

    Raises:
        UserError: no such study.

    """
    card = _card(look)
    if card.problem:
        again = components.command_line("mtlab plan FILE")
        told = html.P("Planning the study's file again writes its plan anew; finished runs are kept:")
        return Page(card.name, html.H1(card.name), (), [components.error_notice(card.problem, told, again)])
    plan = look.data.store.plan(card.name)
    studied = StudyRequest(look, card, plan, selection.StudySelection.of(plan, look.view))
    names = {name: words for name, (words, _) in PANES.items()}
    pane = PANES[_tab(look)][1](studied)
    tabs = controls.radio_buttons("tab", "View", names, _tab(look))
    filters, note = ([], "") if pane.whole else (selection.filter_controls(plan, look.view), studied.scope.told)
    bar = html.Div([*filters, *pane.controls], className="filters")
    noted = [html.P(note, className="note")] if note else []
    return Page(card.name, _head(look, card), (tabs, bar), [*noted, *pane.body])


def study_page_state(look: PageRequest) -> object:
    """Give what changes when the page would."""
    card = _card(look)
    return card.content, look.data.verdict(card), components.time_ago(card.changed)


def _card(look: PageRequest) -> StudySummary:
    if len(look.view.path) != 2:
        raise UserError("name one study in the address: /study/NAME")
    return look.data.study(look.view.path[1])


def _tab(look: PageRequest) -> str:
    return look.view.one("tab", PANES, "comparison")


def _head(look: PageRequest, card: StudySummary) -> Component:
    verdict = look.data.verdict(card, wait=PATIENCE)
    stands = "running" not in card.counts and card.counts.keys() - {"done"}
    return [
        html.P("Study", className="kind"),
        html.H1(card.name),
        html.P(card.why, className="why") if card.why else None,
        html.P(verdict or "The verdict is being worked out …", className="verdict"),
        html.Div(
            [
                components.progress_bar(card.counts, card.progress),
                components.condition_counts(card.counts),
                components.time_element(card.changed),
            ],
            className="summary",
        ),
        components.command_line(card.command) if stands else None,
    ]
