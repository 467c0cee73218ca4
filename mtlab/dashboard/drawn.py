"""Figures on a page: their words as text, their plot fitted to the page and its theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.components import Component
from mtlab.report.figures import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "svg"},
}


def figure_component(made: go.Figure, name: str, dark: bool, *, caption: bool = True) -> Component:
    """Put a figure on a page; zoom and hidden lines stay as they are when it is drawn again.

    Args:
        made: the figure, see `theme.finish`.
        name: of the figure on its page.
        dark: is it drawn on a dark ground?
        caption: show its caption? It is left out where it stands elsewhere on the page.

    """
    said = dict(made.layout.meta)
    if not made.data:  # it says why there is nothing to draw
        why = " ".join(str(note.text) for note in made.layout.annotations).replace("<br>", " ")
        return html.Div([html.H3(said["title"]), components.empty_notice(why)], className="figure")
    fitted = theme.without_title(theme.dark(made) if dark else made)
    fitted.update_layout(uirevision=said["title"], meta=None)
    graph = dcc.Graph(
        figure=fitted,
        id=f"figure-{name}",
        config=_CONFIG,
        responsive=True,
        style={"height": f"{said['height']}px"},
        className="graph wide" if "xaxis2" in fitted.layout else "graph",
    )
    text = [html.H3(said["title"]), html.P(said["caption"]) if said["caption"] and caption else None]
    told = f"{said['title']}. {said['caption']}"
    return html.Figure(
        [html.Figcaption(text), html.Div(graph, role="img", **components.aria_label(told))], className="figure"
    )
