"""The Dash application: one layout around all pages, and two callbacks.

`show` draws the page of the address. It runs again every few seconds and answers only if the page has changed; the
browser then replaces the parts that differ (assets/pages.js). `choose` turns the values of controls into an address.
There is no other state.
"""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from mtlab.dashboard import components
from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.controls import ControlValue
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.layout import index_html, page_layout
from mtlab.dashboard.page import Page, PageRequest, PageType
from mtlab.dashboard.pages import run_page, studies_page, tokens_page
from mtlab.dashboard.study import study_page
from mtlab.errors import UserError

#: first part of the address → the pages below it
PAGES: dict[str, PageType] = {
    "": PageType(studies_page.draw_studies_page, studies_page.studies_page_state),
    "study": PageType(study_page.draw_study_page, study_page.study_page_state),
    "run": PageType(run_page.draw_run_page, run_page.run_page_state),
    "tokens": PageType(tokens_page.draw_tokens_page, tokens_page.tokens_page_state),
}


def make_app(data: DashboardData) -> Dash:
    """Make the application that shows a store."""
    app = Dash(
        "mtlab",
        assets_folder=str(components.ASSETS),
        title="mtlab",
        update_title="",  # the page does not blink while it is refreshed
        index_string=index_html(),
        suppress_callback_exceptions=True,  # controls come and go with pages
        include_pages_meta=False,
        add_log_handler=False,
    )
    app.layout = page_layout(data.store.root)
    for function, output, inputs in (
        ("scheme", "scheme", [Input("theme", "value"), Input("system", "data")]),
        ("beat", "beat", [Input("clock", "n_intervals"), Input("live", "value")]),
        ("leave", "left", [Input("url", "pathname"), Input("url", "search"), Input("scheme", "data")]),
        ("draw", "drawn", [Input("page", "data"), State("url", "pathname")]),
    ):
        app.clientside_callback(ClientsideFunction("mtlab", function), Output(output, "data"), *inputs)

    @app.callback(
        Output("page", "data"),
        Output("seen", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("scheme", "data"),
        Input("beat", "data"),
        State("seen", "data"),
        # Dash drops an answer once it has asked anew: a page that takes longer than a tick would never be seen.
        running=[(Output("clock", "disabled"), True, False)],
    )
    def show(pathname: str, search: str, scheme: str | None, _beat: Any, seen: Any) -> Any:
        if scheme is None:  # the browser sets it at once
            raise PreventUpdate
        answer = render_page(PageRequest(data, PageAddress.parse(pathname, search), scheme == "dark"), seen)
        if answer is None:
            raise PreventUpdate
        return answer

    @app.callback(
        Output("url", "search"),
        Input({"sets": ALL, "default": ALL}, "value"),
        Input({"picks": ALL, "of": ALL}, "value"),
        State("url", "pathname"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def choose(_set: Any, _picked: Any, pathname: str, search: str) -> Any:
        values, picks = (ControlValue.of(group) for group in ctx.inputs_list)
        found = apply_controls(PageAddress.parse(pathname, search), values, picks).search
        return no_update if found == (search or "") else found

    return app


def render_page(request: PageRequest, shown: Any) -> tuple[dict[str, Any], Any] | None:
    """Draw a page unless the browser shows it already.

    Args:
        request: the address, and the store that answers.
        shown: the second value that this function returned for the page in the browser; None for none.

    Returns:
        The page for `assets/pages.js`, and a value that identifies its state; None if nothing has changed.

    """
    page_type = PAGES.get(request.address.path[0] if request.address.path else "", _UNKNOWN)
    state = [request.address.href, request.dark, _digest(_page_state(page_type, request))]
    if shown == state:
        return None
    page = _draw(page_type, request)
    flatten = components.flatten_components
    content = {"head": flatten([page.head]), "controls": list(page.controls), "body": flatten(page.body)}
    return {"title": page.title, **content}, state


def apply_controls(address: PageAddress, values: Iterable[ControlValue], picks: Iterable[ControlValue]) -> PageAddress:
    """Apply the values of a page's controls to its address.

    Args:
        address: of the page.
        values: of controls that set a name.
        picks: checkboxes, each for one value of a list, which is its `default`.

    """
    for value in values:
        address = address.changed({value.name: value.address_value})
    for pick in picks:
        listed = list(address.chosen.get(pick.name, ()))
        if bool(pick.value) != (pick.default in listed):
            kept = [other for other in listed if other != pick.default]
            address = address.changed({pick.name: [*kept, pick.default] if pick.value else kept})
    return address


def _page_state(page_type: PageType, request: PageRequest) -> object:
    try:
        return page_type.state(request)
    except Exception as error:
        return _message(error)


def _draw(page_type: PageType, request: PageRequest) -> Page:
    """Draw a page, or the page of the error; an unexpected error is printed too."""
    try:
        return page_type.draw(request)
    except UserError as error:
        return _error_page(_message(error))
    except Exception as error:
        trace = traceback.format_exc()
        print(trace, file=sys.stderr, end="", flush=True)
        return _error_page(_message(error), trace)


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"This page cannot be drawn: {type(error).__name__}: {error}"


def _error_page(message: str, trace: str = "") -> Page:
    details = [html.Details([html.Summary("Where it went wrong"), html.Pre(trace)])] if trace else []
    notice = components.error_notice(message, *details, _link_to_studies())
    return Page("Something is wrong", html.H1("Something is wrong"), (), [notice])


def _unknown_page(request: PageRequest) -> Page:
    notice = components.error_notice(f"There is no page {request.address.pathname} here.", _link_to_studies())
    return Page("No such page", html.H1("No such page"), (), [notice])


def _link_to_studies() -> components.Component:
    return html.P(dcc.Link("All studies of this store", href="/"))


_UNKNOWN = PageType(_unknown_page, lambda request: request.address.pathname)


def _digest(data: Any) -> str:
    return hashlib.blake2b(json.dumps(data, default=_plain, sort_keys=True).encode(), digest_size=12).hexdigest()


def _plain(part: Any) -> Any:
    return part.to_plotly_json() if hasattr(part, "to_plotly_json") else repr(part)
