"""The frame of a page: one file, styles and scripts within it, and a rule that forbids it to ask for anything else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from mtlab.report.figures import theme
from mtlab.report.page.html_writer import Content, Markup, element, json_script

#: Nothing may be fetched: not by us, and not by markup that might slip in.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
)


def write_document(title: str, body: Content, *, figures: bool, scripts: Sequence[str]) -> str:
    """Write a whole page.

    Args:
        title: of the window.
        body: what it shows.
        figures: does it need plotly.js?
        scripts: names of our own, run in this order at the end.

    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(_colours() + _asset("page.css"))),
    )
    end: list[Content] = []
    if figures:
        from plotly.offline import get_plotlyjs

        templates = {"light": theme.LIGHT.to_plotly_json(), "dark": theme.DARK.to_plotly_json()}
        end += [json_script(templates, id="templates"), element("script", Markup(get_plotlyjs()))]
    end += [element("script", Markup(_asset(name))) for name in scripts]
    skip = element("a", "To the content", href="#content", class_="skip")
    page = element("html", head, element("body", skip, body, end), lang="en")
    return f"<!doctype html>\n{page}\n"


def kind_switch() -> Markup:
    """Write the switch between contributions and raw weights, for all that a page shows."""
    kinds = {"contributions": "contributions", "weights": "raw weights"}
    radios = [
        element("label", element("input", type="radio", name="kind", value=value, checked=place == 0), name)
        for place, (value, name) in enumerate(kinds.items())
    ]
    return element("fieldset", element("legend", "Show"), radios, class_="kind")


def _asset(name: str) -> str:
    return (files("mtlab.report.page") / "assets" / name).read_text(encoding="utf-8")


def _colours() -> str:
    """Hand the theme's colours to the style sheet, so that text and figures match."""
    light, dark = (_variables(template.layout) for template in (theme.LIGHT, theme.DARK))
    return f":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}@media print{{:root{{{light}}}}}"


def _variables(layout: Any) -> str:
    colours = {
        "ink": layout.font.color,
        "faint": layout.xaxis.tickfont.color,
        "line": layout.xaxis.linecolor,
        "grid": layout.xaxis.gridcolor,
        "paper": layout.paper_bgcolor,
    }
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
