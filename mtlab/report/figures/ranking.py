"""Plots a ranking: each variant's mean and interval, best first, and bars that join those not told apart."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from mtlab.report.comparison.ranking import Ranking
from mtlab.report.figures import dots, panels, theme
from mtlab.report.figures.metric_axes import metric_range, metric_scale, shown_interval
from mtlab.report.figures.theme import Style
from mtlab.report.formats import numbers
from mtlab.report.formats.ranking_table import caption
from mtlab.statistics.letter_display import letter
from mtlab.units import in_points

FEW = 10  #: variants with lines of the usual height
LOW_LINE = 24  #: pixels of a line for each of more variants: no dots of single seeds lie below their means


def plot_ranking(ranking: Ranking, styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot means and intervals in the order of the ranking, and beside them a bar over the variants of each group."""
    metric = ranking.metric
    title = f"{ranking.study}: ranking by {metric}{', in points' if in_points(metric) else ''}"
    if not ranking.variants:
        return theme.empty(title, caption(ranking))
    names = [one.row.label for one in ranking.variants]
    figure = panels.make_panels([""], ["mean and interval", "not told apart"], shared_y=True)
    for place, one in enumerate(ranking.variants):
        row = one.row
        assert row.mean is not None
        ends, value = shown_interval(row.mean.interval, metric), metric_scale(metric) * row.mean.mean
        style = theme.find_style(styles, row.label, names)
        text = f"{row.label}: {numbers.format_mean(row.mean, metric)} (n = {row.n}), {one.letters}"
        figure.add_trace(dots.mean_dot(row.label, place, value, ends, style, text, filled=True), row=1, col=1)
    shown = dots.shown_values(figure, "x")
    for at, group in enumerate(ranking.groups):
        figure.add_trace(_bar(at, group, [names[place] for place in group]), row=1, col=2)
    figure.update_xaxes(range=metric_range(shown, metric), row=1, col=1)
    ticks = [letter(at) for at in range(len(ranking.groups))]
    figure.update_xaxes(
        tickvals=list(range(len(ticks))), ticktext=ticks, range=[-0.7, len(ticks) - 0.3], showgrid=False, row=1, col=2
    )
    dots.label_lines(figure, names)
    least = LOW_LINE if len(names) > FEW else dots.LINE_HEIGHT
    return theme.finish(figure, title, caption(ranking), height=130 + dots.lines_height(names, least))


def _bar(at: int, group: tuple[int, ...], labels: list[str]) -> go.Scatter:
    places: list[int | None] = []
    for place in group:
        if places and places[-1] != place - 1:
            places.append(None)  # the line leaves out who is told apart
        places.append(place)
    return go.Scatter(
        x=[at] * len(places),
        y=places,
        mode="lines+markers",
        line={"color": theme.NEUTRAL, "width": 3},
        marker={"color": theme.NEUTRAL, "size": 7},
        hovertemplate=f"not told apart: {theme.escape_markup(', '.join(labels))}<extra></extra>",
        cliponaxis=False,
    )
