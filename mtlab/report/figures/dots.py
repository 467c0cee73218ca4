"""Parts of figures with a line of dots for each variant: its mean, the interval, and its single seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mtlab.report.figures import theme
from mtlab.report.figures.theme import Style

LINE_HEIGHT = 38  #: pixels of a line for a variant, at least
_BELOW = 0.27  #: of a line, from the mean to the single seeds


def mean_dot(
    label: str, place: int, value: float, ends: tuple[float, float] | None, style: Style, text: str, *, filled: bool
) -> go.Scatter:
    """Draw a mean and its interval in the line `place`, with a text as its tooltip."""
    error = None
    if ends is not None:
        error = {
            "type": "data",
            "symmetric": False,
            "array": [ends[1] - value],
            "arrayminus": [value - ends[0]],
            "thickness": 2,
            "width": 5,
            "color": style.colour,
        }
    return go.Scatter(
        x=[value],
        y=[place],
        error_x=error,
        mode="markers",
        marker={"color": style.colour, "size": 10, "symbol": style.symbol if filled else f"{style.symbol}-open"},
        name=theme.escape_markup(label),
        customdata=[theme.escape_markup(text)],
        hovertemplate="%{customdata}<extra></extra>",
        cliponaxis=False,
    )


def seed_dots(
    label: str,
    place: int,
    values: Mapping[int, float],
    style: Style,
    texts: Sequence[str],
    symbol: str = "circle",
) -> list[go.Scatter]:
    """Draw a small dot for each seed below the mean, with a text as its tooltip."""
    if not values:
        return []
    return [
        go.Scatter(
            x=list(values.values()),
            y=[place + _BELOW] * len(values),
            mode="markers",
            marker={"color": style.colour, "size": 5 if symbol == "circle" else 8, "opacity": 0.65, "symbol": symbol},
            name=theme.escape_markup(label),
            ids=[f"seed {seed}" for seed in values],
            customdata=[f"seed {seed}: {text}" for seed, text in zip(values, texts, strict=True)],
            hovertemplate="%{customdata}<extra></extra>",
            cliponaxis=False,
        )
    ]


def lines_height(labels: Sequence[str], least: int = LINE_HEIGHT) -> int:
    """Return the pixels of as many lines as there are labels, each with room for the longest one, which is wrapped."""
    rows = max((theme.axis_label(label).count("<br>") + 1 for label in labels), default=1)
    return len(labels) * max(least, 15 * rows + 8)


def label_lines(figure: go.Figure, labels: Sequence[str]) -> None:
    """Name the lines, the first one at the top."""
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=[theme.axis_label(label) for label in labels],
        range=[len(labels) - 0.4, -0.6],
        showgrid=False,
    )
    figure.update_layout(showlegend=False)


def shown_values(figure: go.Figure, axis: str) -> list[float]:
    """Return what the horizontal axis of a panel must have room for: dots and the ends of their intervals."""
    values: list[float] = []
    for trace in figure.data:
        if (trace.xaxis or "x") == axis and trace.x is not None:
            error = trace.error_x
            values += trace.x
            if error.array is not None:
                values += [trace.x[0] + error.array[0], trace.x[0] - error.arrayminus[0]]
    return values
