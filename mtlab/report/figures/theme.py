"""The theme of all figures: a light and a dark template, the styles of variants, titles, captions and sizes.

Figures set no background colour, and their colours are readable on white and on near-black: switching the template
makes a dark figure.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

#: Distinguishable under three kinds of colour blindness, on white and on near-black (tests/report/test_theme.py).
COLOURS = ("#085EDF", "#D8A101", "#FF68BF", "#329E7C", "#814097", "#5EAEFF", "#BD7500", "#5C6B59")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  #: of variants that share a colour
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")
#: From low to high levels of a tower: cold to warm, and ever lighter.
LEVELS = ("#2B4FC7", "#7A4BC0", "#BF4A9E", "#E8636A", "#F08A3C", "#D39C12")
NEUTRAL = "#848B95"  #: of reference lines, chance and previous states

FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"  #: nearly as wide on every system
WIDTH = 760  #: pixels of a figure, see `resize`
_LETTER = 0.49  #: mean width of a letter, in font sizes
_TITLE, _CAPTION, _EDGE = 16, 12, 14  #: font sizes; pixels left of the title
_TEXT = 13  #: font size of the main text, in pixels
_ENTRY, _LINE = 50, 29  #: pixels of the legend: of an entry but for its name, and of a line
_LINES = 2  #: of the legend, for which a figure's height has room


@dataclass(frozen=True)
class Style:
    """The style of a variant in all figures."""

    colour: str
    dash: str = "solid"
    symbol: str = "circle"


def assign_styles(variants: Iterable[str]) -> dict[str, Style]:
    """Assign a style to each variant by its place among all variants of a study.

    Assign them once for the whole study (`study_styles`) and pass them to each figure, so that a variant keeps its
    colour whatever subset a figure shows.

    >>> assign_styles(["last", "bridge"])["bridge"].colour
    '#D8A101'
    """
    unique = list(dict.fromkeys(variants))
    rounds = [divmod(place, len(COLOURS)) for place in range(len(unique))]
    return {
        variant: Style(COLOURS[colour], DASHES[turn % len(DASHES)], SYMBOLS[turn % len(SYMBOLS)])
        for variant, (turn, colour) in zip(unique, rounds, strict=True)
    }


def study_styles(plan: Mapping[str, Any]) -> dict[str, Style]:
    """Assign a style to each variant of a stored plan."""
    return assign_styles(row["label"] for row in plan["rows"])


def run_styles(variants: Mapping[str, Style], runs: Iterable[tuple[str, str]]) -> dict[str, Style]:
    """Assign a style to each single run: the colour of its variant, and a dash and symbol among the runs of it.

    Args:
        variants: see `study_styles`.
        runs: title of each run, and label of its variant.

    """
    places: dict[str, int] = {}
    styles = {}
    for title, label in runs:
        place = places[label] = places.get(label, -1) + 1
        colour = find_style(variants, label, [label]).colour
        styles[title] = Style(colour, DASHES[place % len(DASHES)], SYMBOLS[place % len(SYMBOLS)])
    return styles


def find_style(of: Mapping[str, Style] | None, variant: str, shown: Sequence[str]) -> Style:
    """Return a variant's style; without a study's styles, by its place among the shown variants."""
    if of is not None and variant in of:
        return of[variant]
    return assign_styles([*(of or {}), *shown])[variant]


def with_opacity(colour: str, opacity: float = 0.18) -> str:
    """Return a colour with an opacity.

    >>> with_opacity("#FF8000", 0.5)
    'rgba(255, 128, 0, 0.5)'
    """
    red, green, blue = _channels(colour)
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def level_colours(number: int) -> list[str]:
    """Return the colours of `number` levels, lowest first."""
    places = [index / max(1, number - 1) * (len(LEVELS) - 1) for index in range(number)]
    return [_between(LEVELS[int(at)], LEVELS[min(int(at) + 1, len(LEVELS) - 1)], at % 1) for at in places]


def finish(figure: go.Figure, title: str, caption: str, height: int = 420) -> go.Figure:
    """Apply theme, title and caption to a figure; `layout.meta` keeps both for pages that show them as text.

    A legend of many lines makes the figure higher: its panels keep their height.
    """
    height += _LINE * max(0, _legend_lines(figure) - _LINES)
    figure.update_layout(template=LIGHT, meta={"title": title, "caption": caption, "height": height})
    return resize(figure)


def _legend_lines(figure: go.Figure) -> int:
    """Return about how many lines the legend takes at the usual width."""
    shown = [trace for trace in figure.data if trace.type != "heatmap" and trace.showlegend is not False and trace.name]
    if figure.layout.showlegend is False or len(shown) < 2:
        return 0
    lines, filled = 1, 0.0
    for trace in shown:
        width = _ENTRY + _LETTER * _CAPTION * len(html.unescape(trace.name))
        if filled and filled + width > WIDTH - 5 * _EDGE:
            lines, filled = lines + 1, 0.0
        filled += width
    return lines


def resize(figure: go.Figure, width: int = WIDTH, height: int | None = None) -> go.Figure:
    """Fit a finished figure to a width in pixels, wrapping its title and caption."""
    meta = dict(figure.layout.meta)
    sizes = [meta.get("font_scale", 1.0) * size for size in (_TITLE, _CAPTION)]
    title, caption = (
        wrap_text(meta[name], width - 2 * _EDGE, size) for name, size in zip(("title", "caption"), sizes, strict=True)
    )
    lines = [title.count("<br>") + 1, caption.count("<br>") + 1 if caption else 0]
    if lines[1] == 1:
        caption += "<br> "  # plotly places a single line lower than the first of several
    head = round(1.3 * (lines[0] * sizes[0] + lines[1] * sizes[1])) + 2 * _EDGE
    extra = head - (round(1.3 * _TITLE) + 2 * _EDGE)
    figure.update_layout(
        width=width,
        height=height or meta["height"] + extra,
        margin_t=head + (20 if figure.layout.annotations else 6),
        title={
            "text": title,
            "subtitle": {"text": caption},
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": _EDGE + 10 * (lines[0] - 1)},
        },
    )
    return figure


def bare(figure: go.Figure) -> go.Figure:
    """Copy a figure without title and caption, for a paper that has them in its text."""
    copy = without_title(figure)
    return copy.update_layout(width=figure.layout.width, autosize=None)


def set_fonts(figure: go.Figure, family: str | None = None, size: float | None = None) -> go.Figure:
    """Copy a figure with another family or size of fonts.

    Args:
        figure: finished.
        family: name of an installed font; None: as it is.
        size: of its main text in points, which other text is scaled with; None: as it is.

    """
    scale = 1.0 if size is None else size * 96 / 72 / _TEXT
    quoted = None if family is None else quote_family(family)
    changed = go.Figure(_change_fonts(figure.to_plotly_json(), quoted, scale))
    return changed.update_layout(meta={**figure.layout.meta, "font_scale": scale})


def quote_family(name: str) -> str:
    """Write the name of a font as CSS takes it, which takes no word that begins with a digit without quotes.

    >>> quote_family("Source Sans 3"), quote_family("Arial, sans-serif")
    ("'Source Sans 3'", 'Arial, sans-serif')
    """
    plain = "'" not in name and '"' not in name and "," not in name
    return f"'{name}'" if plain and not all(word.isidentifier() for word in name.split()) else name


def _change_fonts(part: Any, family: str | None, scale: float, *, font: bool = False) -> Any:
    """Copy a part of a figure's description with other fonts."""
    if isinstance(part, list | tuple):
        return [_change_fonts(each, family, scale) for each in part]
    if not isinstance(part, dict):
        return part
    changed = {name: _change_fonts(each, family, scale, font=name.endswith("font")) for name, each in part.items()}
    if font and isinstance(part.get("size"), int | float):
        changed["size"] = scale * part["size"]
    if font and family is not None and "family" in part:
        changed["family"] = family
    return changed


def without_title(figure: go.Figure) -> go.Figure:
    """Copy a figure without title, caption and fixed width, for a page that shows them as text."""
    copy = go.Figure(figure)
    copy.update_layout(title=None, width=None, height=figure.layout.meta["height"], autosize=True)
    copy.update_layout(margin_t=top_margin(figure))
    return copy


def top_margin(figure: go.Figure) -> int:
    """Return the pixels above a figure without title: those of its column titles."""
    return 30 if figure.layout.annotations else 10


def dark(figure: go.Figure) -> go.Figure:
    """Return a dark copy of a figure."""
    return go.Figure(figure).update_layout(template=DARK)


def empty(title: str, why: str) -> go.Figure:
    """Make a figure that says why there is nothing to plot."""
    figure = go.Figure()
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    finish(figure, title, "", 200)
    figure.update_layout(meta={**figure.layout.meta, "why": why})
    figure.add_annotation(
        text=wrap_text(why, WIDTH - 80, 13), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, align="left"
    )
    return figure


def escape_markup(text: str) -> str:
    """Escape markup in a text: labels and questions are untrusted.

    >>> escape_markup("a<b & c")
    'a&lt;b &amp; c'
    """
    return html.escape(text, quote=False)


def wrap_text(text: str, width: float, size: float) -> str:
    """Wrap a text into lines of about `width` pixels, which plotly does not."""
    return "<br>".join(map(escape_markup, textwrap.wrap(text, max(10, int(width / (_LETTER * size))))))


def axis_label(text: str) -> str:
    """Wrap a text for the label of an axis."""
    return wrap_text(text, 150, 11)


def css_variables(template: go.layout.Template) -> str:
    """Write fonts and colours of a template as CSS variables, so that pages and figures match."""
    layout = template.layout
    variables = {
        "font": FONT,
        "ink": layout.font.color,
        "faint": layout.xaxis.tickfont.color,
        "line": layout.xaxis.linecolor,
        "grid": layout.xaxis.gridcolor,
        "paper": layout.paper_bgcolor,
        "accent": COLOURS[5] if template is DARK else COLOURS[0],
    }
    return " ".join(f"--{name}: {value};" for name, value in variables.items())


def _channels(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def _between(first: str, second: str, at: float) -> str:
    mixed = (round(a + (b - a) * at) for a, b in zip(_channels(first), _channels(second), strict=True))
    return "#" + "".join(f"{channel:02X}" for channel in mixed)


def _template(
    ink: str, faint: str, line: str, grid: str, paper: str, rising: Sequence[str], turning: Sequence[str]
) -> go.layout.Template:
    """Make a template from its colours: text, faint text, axes, grid, background, and colour scales of heatmaps.

    On every colour of a scale the text reaches a contrast of 4.5:1 (WCAG AA).
    """
    axis = {
        "automargin": True,
        "zeroline": False,
        "gridcolor": grid,
        "linecolor": line,
        "tickcolor": line,
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"size": 11, "color": faint},
        "title": {"font": {"size": 12}, "standoff": 8},
    }
    bar = {"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11, "color": faint}, "title": {"side": "right"}}
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": _TEXT, "color": ink},
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "colorway": COLOURS,
            "title": {
                "x": 0,
                "xanchor": "left",
                "font": {"size": _TITLE, "weight": 600},
                "pad": {"l": _EDGE, "t": _EDGE},
                "subtitle": {"font": {"size": _CAPTION, "color": faint}},
            },
            "margin": {"l": 56, "r": 18, "t": 60, "b": 52},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 0,
                "yref": "container",
                "yanchor": "bottom",
                "font": {"size": 12},
                "title": {"font": {"size": 12}},
            },
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": faint, "activecolor": ink},  # else it hides titles
            "hoverlabel": {"font": {"family": FONT, "size": 12}},
            "annotationdefaults": {"font": {"size": 12, "color": ink}, "arrowcolor": faint},
            "shapedefaults": {"line": {"color": faint, "width": 1}},
            "colorscale": {"sequential": rising, "diverging": turning},
            "coloraxis": {"colorscale": turning, "colorbar": bar},
        },
        data={"heatmap": [{"colorscale": rising, "colorbar": bar, "xgap": 1, "ygap": 1, "textfont": {"color": ink}}]},
    )


LIGHT = _template(
    ink="#1C2128",
    faint="#59626E",
    line="#B4BBC4",
    grid="#EBEDF0",
    paper="#FFFFFF",
    rising=["#F4F7FC", "#B9D2F2", "#4F8FDC"],
    turning=["#C67A12", "#E8B36A", "#F6F4F1", "#A9CBEF", "#4F8FDC"],
)
DARK = _template(
    ink="#E6E9ED",
    faint="#A3ACB8",
    line="#4B535E",
    grid="#262B33",
    paper="#14171C",
    rising=["#181D26", "#17365F", "#1F63B5"],
    turning=["#845410", "#4A3418", "#20242B", "#1D3C63", "#23599F"],
)
