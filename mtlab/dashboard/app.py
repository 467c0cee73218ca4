"""The application: one frame around all pages, and the few callbacks that draw them.

`show` draws the page of the address. It is asked again every few seconds, and answers only if the page would change;
the browser then changes what is different, and leaves the rest as it is (assets/pages.js). `choose` turns what the
controls say into an address. Nothing else is kept anywhere.
"""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from mtlab.dashboard import components, missing
from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.controls import ControlValue
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.layout import index_html, page_layout
from mtlab.dashboard.page import Page, PageRequest
from mtlab.dashboard.pages import run_page, studies_page, tokens_page
from mtlab.dashboard.study import study_page
from mtlab.errors import UserError

PAGES = {"": studies_page, "study": study_page, "run": run_page, "tokens": tokens_page}


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
        if scheme is None:  # the browser will tell at once
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


def render_page(look: PageRequest, seen: Any) -> tuple[dict[str, Any], Any] | None:
    """Draw a page.

    Args:
        look: which page, and how.
        seen: what this function said of the page that the browser shows.

    Returns:
        The page, see `assets/pages.js`, and what is to be said of it; None if the browser shows it already.

    """
    now = [look.view.href, look.dark, _digest(_guarded(look, "content"))]
    if seen == now:
        return None
    page: Page = _guarded(look, "draw")
    parts_of = {
        "head": components.flatten_components([page.head]),
        "controls": list(page.controls),
        "body": components.flatten_components(page.body),
    }
    return {"title": page.title, **parts_of}, now


def apply_controls(view: PageAddress, values: Iterable[ControlValue], picks: Iterable[ControlValue]) -> PageAddress:
    """Take what the controls of a page say into its address.

    Args:
        view: the address.
        values: of controls that set a name.
        picks: boxes, each of which stands for a value in a list: `default` is that value.

    """
    for value in values:
        view = view.changed({value.name: value.written})
    for pick in picks:
        listed = list(view.chosen.get(pick.name, ()))
        if bool(pick.value) != (pick.default in listed):
            kept = [other for other in listed if other != pick.default]
            view = view.changed({pick.name: [*kept, pick.default] if pick.value else kept})
    return view


def _guarded(look: PageRequest, wanted: str) -> Any:
    """Draw the page, or tell its content; what goes wrong becomes the page, and the unexpected is printed too."""
    module = PAGES.get(look.view.path[0] if look.view.path else "", missing)
    try:
        return getattr(module, wanted)(look)
    except UserError as error:
        told, trace = str(error), ""
    except Exception as error:
        told, trace = f"This page cannot be drawn: {type(error).__name__}: {error}", traceback.format_exc()
    if wanted == "content":
        return told
    print(trace, file=sys.stderr, end="", flush=True)
    return missing.broken(told, trace)


def _digest(data: Any) -> str:
    return hashlib.blake2b(json.dumps(data, default=_plain, sort_keys=True).encode(), digest_size=12).hexdigest()


def _plain(part: Any) -> Any:
    return part.to_plotly_json() if hasattr(part, "to_plotly_json") else repr(part)
