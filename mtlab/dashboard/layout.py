"""The layout around all pages: the bar at the top, colours, and what callbacks store in the browser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.components import Component
from mtlab.report.figures import theme
from mtlab.report.page.document import read_asset

REFRESH = 3.0  #: seconds between two requests for the page

#: Dash's HTML without its support for old browsers; the theme is set before anything is drawn.
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<meta name="color-scheme" content="light dark">
<title>{%title%}</title>
<link rel="icon" href="ICON">
{%css%}
<style>
COLOURS</style>
<script>
  try {
    const chosen = localStorage.getItem("mtlab-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (error) { /* a browser without storage */ }
</script>
<script>
FIGURES</script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<noscript>These pages need JavaScript. `mtlab status` and `mtlab report` tell the same in the terminal.</noscript>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


#: Two towers and what joins them.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#085EDF"/>'
    '<path d="M8 25V9m16 16V9M8 21h16M8 15h16" stroke="#fff" stroke-width="3.2" stroke-linecap="round"/></svg>'
)


def index_html() -> str:
    """Return the HTML that Dash fills, with the colours of the figures."""
    index = INDEX.replace("COLOURS", colour_css()).replace("ICON", f"data:image/svg+xml,{quote(ICON)}")
    return index.replace("FIGURES", read_asset("figures.js"))


def page_layout(store: Path) -> Component:
    """Lay out the bar, the page and the stores."""
    theme_switch = dcc.RadioItems(
        id="theme",
        options=[{"value": name, "label": name} for name in ("auto", "light", "dark")],
        value="auto",
        persistence=True,
        persistence_type="local",
        inline=True,
        className="switch small",
    )
    live = dcc.Checklist(id="live", options=[{"value": "live", "label": "live"}], value=["live"], className="live")
    bar = html.Header(
        [
            dcc.Link([html.Span("mt", className="mt"), "lab"], href="/", className="brand", title="All studies"),
            html.Nav(
                [dcc.Link("Studies", href="/"), dcc.Link("Token explorer", href="/tokens")],
                **components.aria_label("Pages"),
            ),
            html.Span(str(store), className="store", title=f"The store: {store}"),
            html.Div(live, title="Look at the store again every few seconds"),
            html.Div(theme_switch, role="group", **components.aria_label("Colours")),
        ],
        className="top",
    )
    main = html.Main(
        [html.Div(id="head"), html.Div(id="controls"), html.Div(id="body", className="body")], id="main", tabIndex=-1
    )
    return html.Div([bar, main, *_stores()])


def _stores() -> list[Component]:
    return [
        dcc.Location(id="url", refresh=False),
        dcc.Interval(id="clock", interval=int(REFRESH * 1000)),
        dcc.Store(id="system"),  # whether the system's theme is dark, set by pages.js
        dcc.Store(id="scheme"),  # the theme that is shown
        dcc.Store(id="beat"),  # the clock, while the page is visible and live
        dcc.Store(id="page"),  # the page, to be drawn by pages.js
        dcc.Store(id="seen"),  # its state, see `app.render_page`
        *(dcc.Store(id=name) for name in ("left", "drawn")),  # outputs of callbacks in the browser, which must have one
    ]


def colour_css() -> str:
    """Return the colours of the figures as CSS, of the system's theme or of the one that the reader chooses."""
    light, dark = theme.css_variables(theme.LIGHT), theme.css_variables(theme.DARK)
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ color-scheme: dark; {dark} }} }}\n"
        f":root[data-theme=dark] {{ color-scheme: dark; {dark} }}\n"
    )
