"""The HTML document around a page: one file with styles and scripts, under a policy that forbids network requests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from mtlab.report.figures import theme
from mtlab.report.page.html_writer import Content, Markup, element, json_script

#: Nothing may be fetched, not even by markup that is injected.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
)


def write_document(title: str, body: Content, *, figures: bool, scripts: Sequence[str]) -> str:
    """Write a whole page.

    Args:
        title: of the window.
        body: content of the page.
        figures: include plotly.js.
        scripts: files in `assets/`, run in this order at the end.

    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(_colours() + read_asset("page.css"))),
    )
    end: list[Content] = []
    if figures:
        from plotly.offline import get_plotlyjs

        templates = {"light": theme.LIGHT.to_plotly_json(), "dark": theme.DARK.to_plotly_json()}
        end += [json_script(templates, id="templates"), element("script", Markup(get_plotlyjs()))]
    end += [element("script", Markup(read_asset(name))) for name in scripts]
    skip = element("a", "To the content", href="#content", class_="skip")
    page = element("html", head, element("body", skip, body, end), lang="en")
    return f"<!doctype html>\n{page}\n"


def write_page(
    name: str,
    header: Content,
    sections: Sequence[tuple[str, str, Content]],
    *,
    scripts: Sequence[str],
    kinds: bool = False,
) -> str:
    """Write a page with figures, made of sections and links to them.

    Args:
        name: of the study.
        header: above the sections.
        sections: id, title and content of each.
        scripts: see `write_document`.
        kinds: add the switch between contributions and raw weights.

    """
    links = [element("li", element("a", title, href=f"#{id_}")) for id_, title, _ in sections]
    bar = element("nav", element("ul", links), kind_switch() if kinds else None, aria_label="Sections")
    content = []
    for id_, title, section in sections:
        heading = element("h2", title, id=f"{id_}-heading")
        content.append(element("section", heading, section, id=id_, aria_labelledby=f"{id_}-heading"))
    body = [header, bar, element("main", content, id="content")]
    return write_document(f"{name} – mtlab", body, figures=True, scripts=scripts)


def kind_switch() -> Markup:
    """Write the switch between contributions and raw weights for the whole page."""
    kinds = {"contributions": "contributions", "weights": "raw weights"}
    radios = [
        element("label", element("input", type="radio", name="kind", value=value, checked=place == 0), name)
        for place, (value, name) in enumerate(kinds.items())
    ]
    return element("fieldset", element("legend", "Show"), radios, class_="kind")


def read_asset(name: str) -> str:
    """Read a file of styles or scripts."""
    return (files("mtlab.report.page") / "assets" / name).read_text(encoding="utf-8")


def _colours() -> str:
    """Write the theme's colours as CSS, so that text and figures match."""
    light, dark = theme.css_variables(theme.LIGHT), theme.css_variables(theme.DARK)
    return f":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}@media print{{:root{{{light}}}}}"
