"""Plots the best value so far of each variant's search, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mtlab.report.figures import panels, theme
from mtlab.report.figures.metric_axes import axis_title, metric_scale
from mtlab.report.figures.sweep import search_trials
from mtlab.report.figures.theme import Style, with_opacity
from mtlab.sweeps.stored import StoredSearch

FEW = 12  #: trials that have a tick each; more have whole numbers anyhow


def plot_best_so_far(searches: Sequence[StoredSearch], styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot the best value so far of each variant, and its trials as points: crosses were pruned."""
    metric = search_trials.objective_metric(searches)
    title = f"Best so far: {metric}"
    if not any(search_trials.finished_trials(found, allowed=False) for found in searches):
        return theme.empty(title, search_trials.NONE_YET)
    scale, best_of = metric_scale(metric), max if searches[0].objectives[0].mode == "max" else min
    figure = panels.make_panels([""], [""], x="trial", y=axis_title(metric))
    for rank, found in enumerate(searches):
        style, best, line = search_trials.search_style(searches, styles, found.label), None, []
        finished = {each.number: each.values[0] for each in search_trials.finished_trials(found)}
        for number in range(len(found.trials)):
            if number in finished:
                best = finished[number] if best is None else best_of(best, finished[number])
            line.append(None if best is None else scale * best)
        figure.add_trace(
            go.Scatter(
                x=list(range(len(line))),
                y=line,
                mode="lines",
                line={"color": style.colour, "dash": style.dash, "width": 2, "shape": "hv"},
                name=theme.escape_markup(found.label),
                legendgroup=found.label,
                legendrank=1000 + rank,
                hovertemplate="%{fullData.name}: best of the first trials %{y:.4g}<extra></extra>",
            )
        )
        for trials, symbol in (
            (search_trials.finished_trials(found, allowed=False), style.symbol),
            (search_trials.pruned_trials(found), "x-thin"),
        ):
            figure.add_trace(
                go.Scatter(
                    x=[each.number for each in trials],
                    y=[scale * each.values[0] for each in trials],
                    mode="markers",
                    marker={
                        "symbol": symbol,
                        "size": 7,
                        "color": with_opacity(style.colour, 0.45),
                        "line": {"color": style.colour, "width": 1.5 if symbol == "x-thin" else 0},
                    },
                    name=theme.escape_markup(found.label),
                    legendgroup=found.label,
                    showlegend=False,
                    hovertemplate="%{fullData.name}, trial %{x}: %{y:.4g}<extra></extra>",
                )
            )
    few = max(len(found.trials) for found in searches) <= FEW
    figure.update_xaxes(tickformat="d", dtick=1 if few else None)
    counts = search_trials.describe_trial_counts(searches)
    caption = (
        f"Lines: the best value of all trials so far. Points: single trials; crosses were stopped early and stand at "
        f"their last value. {counts.capitalize()}. The best of many trials flatters: validation data chose it."
    ) + panels.hide_beyond_limit(figure, search_trials.search_labels(searches))
    return theme.finish(figure, title, caption, height=380)
