"""Plots two objectives of all trials, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mtlab.report.figures import panels, theme
from mtlab.report.figures.metric_axes import axis_title, metric_scale
from mtlab.report.figures.sweep import search_trials
from mtlab.report.figures.theme import Style, with_opacity
from mtlab.sweeps.stored import StoredSearch


def plot_pareto_front(searches: Sequence[StoredSearch], styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot the first objective over the second: the trials of each variant, and a line through its Pareto front."""
    names = [objective.metric for objective in searches[0].objectives] if searches else []
    if len(names) < 2:
        return theme.empty("What no other trial beats", "The sweep has one objective.")
    y, x = names[:2]
    title = f"What no other trial beats: {y} by {x}"
    if not any(search_trials.finished_trials(found, allowed=False) for found in searches):
        return theme.empty(title, search_trials.NONE_YET)
    figure = panels.make_panels([""], [""], x=axis_title(x), y=axis_title(y))
    x_scale, y_scale = metric_scale(x), metric_scale(y)
    for rank, found in enumerate(searches):
        style = search_trials.search_style(searches, styles, found.label)
        best = {trial.number for trial in found.front}
        rest = [trial for trial in search_trials.finished_trials(found, allowed=False) if trial.number not in best]
        line = sorted(found.front, key=lambda trial: trial.values[1])
        for trials, on_front in ((rest, False), (line, True)):
            figure.add_trace(
                go.Scatter(
                    x=[x_scale * trial.values[1] for trial in trials],
                    y=[y_scale * trial.values[0] for trial in trials],
                    customdata=[trial.number for trial in trials],
                    mode="lines+markers" if on_front else "markers",
                    line={"color": style.colour, "dash": style.dash, "width": 2},
                    marker={
                        "symbol": style.symbol,
                        "size": 9 if on_front else 6,
                        "color": style.colour if on_front else with_opacity(style.colour, 0.35),
                    },
                    name=theme.escape_markup(found.label),
                    legendgroup=found.label,
                    legendrank=1000 + rank,
                    showlegend=on_front,
                    hovertemplate="%{fullData.name}, trial %{customdata}: %{y:.4g} at %{x:.4g}<extra></extra>",
                )
            )
    caption = (
        "One point a finished trial; the line joins those that no other trial of the variant beats in all objectives. "
        f"{search_trials.describe_trial_counts(searches).capitalize()}."
    )
    return theme.finish(figure, title, caption, height=420)
