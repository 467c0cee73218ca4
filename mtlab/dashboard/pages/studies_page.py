"""The first page: all studies of the store, and what lies in it beside them."""

from __future__ import annotations

from collections.abc import Sequence

from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.address import page_href
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.page import Page, PageRequest
from mtlab.dashboard.summaries import OrphanRun, StudySummary

STRAYS = 200  #: runs of no study that are listed


def draw_studies_page(look: PageRequest) -> Page:
    """Draw the page."""
    cards, strays = look.data.studies(), look.data.strays()
    wanted = look.view.text("find")
    found = [card for card in cards if wanted.casefold() in f"{card.name} {card.why}".casefold()]
    bar = [controls.search_box("find", "Find a study", wanted, "name or question")] if len(cards) > 3 else []
    body: list[Component] = []
    if not cards:
        body.append(_nothing())
    elif not found:
        body.append(components.empty_notice(f"No study of this store has {wanted!r} in its name or question."))
    else:
        body.append(_table(look.data, found))
    if strays:
        body.append(_strays(strays))
    return Page("Studies", _head(cards), bar, body)


def studies_page_state(look: PageRequest) -> object:
    """Give what changes when the page would."""
    cards = look.data.studies()
    strays = [(stray.name, stray.card and stray.card.content) for stray in look.data.strays()]
    return [(card.content, look.data.verdict(card), components.time_ago(card.changed)) for card in cards], strays


def _head(cards: Sequence[StudySummary]) -> Component:
    runs = {run.id: run.condition for card in cards for run in card.runs}
    total = {name: list(runs.values()).count(name) for name in components.CONDITIONS}
    one = len(cards) == 1
    told = f"{len(cards)} {'study' if one else 'studies'}, {len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    return [html.H1("Studies"), html.P([html.Span(told), components.condition_counts(total)], className="summary")]


def _nothing() -> Component:
    return components.empty_notice(
        "There is no study in this store yet.",
        html.P(
            "A first comparison, four ways to aggregate layers with two seeds each, takes some minutes on a laptop:"
        ),
        components.command_line("mtlab run quickstart"),
        html.P("A study of your own starts as a copy of a recipe:"),
        components.command_line("mtlab new mine"),
        html.P("This page shows a study as soon as it is planned: there is no need to load it again."),
    )


def _table(data: DashboardData, cards: Sequence[StudySummary]) -> Component:
    return components.data_table(
        [
            TableColumn("study", [_name(card) for card in cards], heads=True),
            TableColumn("progress", [_progress(card) for card in cards]),
            TableColumn("verdict", [_verdict(data, card) for card in cards]),
            TableColumn("last change", [components.time_element(card.changed) for card in cards]),
        ],
        "All studies of the store, the one that changed last first",
    )


def _name(card: StudySummary) -> Component:
    link = dcc.Link(card.name, href=page_href("study", card.name), className="name")
    return [link, html.P(card.why, className="why")] if card.why else link


def _progress(card: StudySummary) -> Component:
    if card.problem:
        return components.badge("damaged")
    return [components.progress_bar(card.counts, card.progress), components.condition_counts(card.counts)]


def _verdict(data: DashboardData, card: StudySummary) -> Component:
    if card.problem:
        return html.P(card.problem, className="problem")
    told = data.verdict(card)
    return html.Span("being worked out …", className="quiet") if told is None else told


def _strays(strays: Sequence[OrphanRun]) -> Component:
    told = (
        "Runs that no study of this store asks for (any more), and folders that are none of mtlab's. "
        "Nothing is lost: a study that asks for such a run again finds it."
    )
    listed = strays[:STRAYS]
    more = f" The first {STRAYS} of {len(strays)} are listed." if len(strays) > STRAYS else ""
    columns = [
        TableColumn(
            "run", [each.name if each.card is None else components.run_link(each.name, each.name) for each in listed]
        ),
        TableColumn("state", [_stray_state(each) for each in listed]),
        TableColumn("variant", ["" if each.card is None else each.card.label for each in listed]),
    ]
    return html.Details(
        [
            html.Summary(f"Beside the studies: {len(strays)}"),
            html.P(told + more, className="about"),
            components.data_table(columns, "Runs that belong to no study"),
        ],
        className="section",
    )


def _stray_state(stray: OrphanRun) -> Component:
    return html.Span("not mtlab's", className="quiet") if stray.card is None else components.run_badge(stray.card)
