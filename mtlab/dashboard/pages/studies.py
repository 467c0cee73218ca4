"""The first page: all studies of the store, and what lies in it beside them."""

from __future__ import annotations

from collections.abc import Sequence

from dash import dcc, html

from mtlab.dashboard import controls, parts
from mtlab.dashboard.cards import Stray, StudyCard
from mtlab.dashboard.data import Data
from mtlab.dashboard.page import Look, Page
from mtlab.dashboard.parts import Column, Part
from mtlab.dashboard.views import address

STRAYS = 200  #: runs of no study that are listed


def draw(look: Look) -> Page:
    """Draw the page."""
    cards, strays = look.data.studies(), look.data.strays()
    wanted = look.view.text("find")
    found = [card for card in cards if wanted.casefold() in f"{card.name} {card.why}".casefold()]
    bar = [controls.written("find", "Find a study", wanted, "name or question")] if len(cards) > 3 else []
    body: list[Part] = []
    if not cards:
        body.append(_nothing())
    elif not found:
        body.append(parts.empty(f"No study of this store has {wanted!r} in its name or question."))
    else:
        body.append(_table(look.data, found))
    if strays:
        body.append(_strays(strays))
    return Page("Studies", _head(cards), bar, body)


def content(look: Look) -> object:
    """Give what changes when the page would."""
    cards = look.data.studies()
    strays = [(stray.name, stray.card and stray.card.content) for stray in look.data.strays()]
    return [(card.content, look.data.verdict(card), parts.ago(card.changed)) for card in cards], strays


def _head(cards: Sequence[StudyCard]) -> Part:
    runs = {run.id: run.condition for card in cards for run in card.runs}
    total = {name: list(runs.values()).count(name) for name in parts.CONDITIONS}
    one = len(cards) == 1
    told = f"{len(cards)} {'study' if one else 'studies'}, {len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    return [html.H1("Studies"), html.P([html.Span(told), parts.counts(total)], className="summary")]


def _nothing() -> Part:
    return parts.empty(
        "There is no study in this store yet.",
        html.P(
            "A first comparison, four ways to aggregate layers with two seeds each, takes some minutes on a laptop:"
        ),
        parts.command("mtlab run quickstart"),
        html.P("A study of your own starts as a copy of a recipe:"),
        parts.command("mtlab new mine"),
        html.P("This page shows a study as soon as it is planned: there is no need to load it again."),
    )


def _table(data: Data, cards: Sequence[StudyCard]) -> Part:
    return parts.table(
        [
            Column("study", [_name(card) for card in cards], heads=True),
            Column("progress", [_progress(card) for card in cards]),
            Column("verdict", [_verdict(data, card) for card in cards]),
            Column("last change", [parts.when(card.changed) for card in cards]),
        ],
        "All studies of the store, the one that changed last first",
    )


def _name(card: StudyCard) -> Part:
    link = dcc.Link(card.name, href=address("study", card.name), className="name")
    return [link, html.P(card.why, className="why")] if card.why else link


def _progress(card: StudyCard) -> Part:
    if card.problem:
        return parts.badge("damaged")
    return [parts.progress(card.counts, card.progress), parts.counts(card.counts)]


def _verdict(data: Data, card: StudyCard) -> Part:
    if card.problem:
        return html.P(card.problem, className="problem")
    told = data.verdict(card)
    return html.Span("being worked out …", className="quiet") if told is None else told


def _strays(strays: Sequence[Stray]) -> Part:
    told = (
        "Runs that no study of this store asks for (any more), and folders that are none of mtlab's. "
        "Nothing is lost: a study that asks for such a run again finds it."
    )
    listed = strays[:STRAYS]
    more = f" The first {STRAYS} of {len(strays)} are listed." if len(strays) > STRAYS else ""
    columns = [
        Column("run", [each.name if each.card is None else parts.run_link(each.name, each.name) for each in listed]),
        Column("state", [_stray_state(each) for each in listed]),
        Column("variant", ["" if each.card is None else each.card.label for each in listed]),
    ]
    return html.Details(
        [
            html.Summary(f"Beside the studies: {len(strays)}"),
            html.P(told + more, className="about"),
            parts.table(columns, "Runs that belong to no study"),
        ],
        className="section",
    )


def _stray_state(stray: Stray) -> Part:
    return html.Span("not mtlab's", className="quiet") if stray.card is None else parts.run_badge(stray.card)
