"""Pages in place of those that are not there, or cannot be drawn."""

from __future__ import annotations

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.page import Page, PageRequest


def draw(look: PageRequest) -> Page:
    """Draw the page of an address that is none."""
    told = f"There is no page {look.view.pathname} here."
    return Page("No such page", html.H1("No such page"), (), [components.error_notice(told, _way_back())])


def content(look: PageRequest) -> object:
    """Give what changes when the page would: nothing does."""
    return look.view.pathname


def broken(told: str, trace: str = "") -> Page:
    """Draw a page that says why it is not the one that was asked for."""
    details = [html.Details([html.Summary("Where it went wrong"), html.Pre(trace)])] if trace else []
    return Page(
        "Something is wrong", html.H1("Something is wrong"), (), [components.error_notice(told, *details, _way_back())]
    )


def _way_back() -> components.Component:
    return html.P(dcc.Link("All studies of this store", href="/"))
