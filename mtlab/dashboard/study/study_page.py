"""The page of a study: its question and verdict, and below them one pane of several, for the part that is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dash import html

from mtlab.dashboard import controls, parts, scope
from mtlab.dashboard.cards import StudyCard
from mtlab.dashboard.page import Look, Page
from mtlab.dashboard.pane import Pane, Studied
from mtlab.dashboard.parts import Part
from mtlab.dashboard.study import comparison, curves, layers, pair, runs, seeds, training
from mtlab.errors import UserError

PANES: Mapping[str, tuple[str, Callable[[Studied], Pane]]] = {
    "comparison": ("Comparison", comparison.draw),
    "curves": ("Curves", curves.draw),
    "layers": ("Layers", layers.draw),
    "training": ("Over training", training.draw),
    "seeds": ("Seeds and layers", seeds.draw),
    "pair": ("Two variants", pair.draw),
    "runs": ("Runs", runs.draw),
}
PATIENCE = 1.0  #: seconds that the page waits for its verdict


def draw(look: Look) -> Page:
    """Draw the page.

    Raises:
        UserError: no such study.

    """
    card = _card(look)
    if card.problem:
        again = parts.command("mtlab plan FILE")
        told = html.P("Planning the study's file again writes its plan anew; finished runs are kept:")
        return Page(card.name, html.H1(card.name), (), [parts.trouble(card.problem, told, again)])
    plan = look.data.store.plan(card.name)
    studied = Studied(look, card, plan, scope.Scope.of(plan, look.view))
    names = {name: words for name, (words, _) in PANES.items()}
    pane = PANES[_tab(look)][1](studied)
    tabs = controls.switch("tab", "View", names, _tab(look))
    filters, note = ([], "") if pane.whole else (scope.bar(plan, look.view), studied.scope.told)
    bar = html.Div([*filters, *pane.controls], className="filters")
    noted = [html.P(note, className="note")] if note else []
    return Page(card.name, _head(look, card), (tabs, bar), [*noted, *pane.body])


def content(look: Look) -> object:
    """Give what changes when the page would."""
    card = _card(look)
    return card.content, look.data.verdict(card), parts.ago(card.changed)


def _card(look: Look) -> StudyCard:
    if len(look.view.path) != 2:
        raise UserError("name one study in the address: /study/NAME")
    return look.data.study(look.view.path[1])


def _tab(look: Look) -> str:
    return look.view.one("tab", PANES, "comparison")


def _head(look: Look, card: StudyCard) -> Part:
    verdict = look.data.verdict(card, wait=PATIENCE)
    stands = "running" not in card.counts and card.counts.keys() - {"done"}
    return [
        html.P("Study", className="kind"),
        html.H1(card.name),
        html.P(card.why, className="why") if card.why else None,
        html.P(verdict or "The verdict is being worked out …", className="verdict"),
        html.Div(
            [parts.progress(card.counts, card.progress), parts.counts(card.counts), parts.when(card.changed)],
            className="summary",
        ),
        parts.command(card.command) if stands else None,
    ]
