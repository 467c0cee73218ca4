"""Plots the results of trials over each setting by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlab.report.figures import theme
from mtlab.report.figures.metric_axes import axis_title, metric_scale
from mtlab.report.figures.sweep import search_trials
from mtlab.report.figures.theme import Style, with_opacity
from mtlab.sweeps.stored import StoredSearch

COLUMNS = 3  #: panels in a row


def plot_slices(searches: Sequence[StoredSearch], styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot a panel for each setting: the results of trials over its value."""
    metric = search_trials.objective_metric(searches)
    title = f"Setting by setting: {metric}"
    paths = list(dict.fromkeys(path for found in searches for path in found.space))
    if not any(search_trials.finished_trials(found, allowed=False) for found in searches):
        return theme.empty(title, search_trials.NONE_YET)
    rows, columns = math.ceil(len(paths) / COLUMNS), min(COLUMNS, len(paths))
    figure = make_subplots(
        rows, columns, shared_yaxes="all", horizontal_spacing=0.05, vertical_spacing=0.32 / max(rows, 2)
    )
    for place, path in enumerate(paths):
        at = {"row": place // columns + 1, "col": place % columns + 1}
        spaces = [found.space[path] for found in searches if path in found.space]
        figure.update_xaxes(title_text=path, **at)
        if spaces[0].kind == "choice":
            names = list(dict.fromkeys(str(name) for space in spaces for name in space.names))
            figure.update_xaxes(type="category", categoryorder="array", categoryarray=names, **at)
        elif spaces[0].log:
            figure.update_xaxes(type="log", dtick=1, exponentformat="power", **at)
        elif spaces[0].kind == "int" and spaces[0].values[1] - spaces[0].values[0] <= 8:
            figure.update_xaxes(dtick=1, **at)
        for rank, found in enumerate(searches):
            for trace in _points(
                found, path, search_trials.search_style(searches, styles, found.label), place == 0, rank
            ):
                figure.add_trace(trace, **at)
    figure.update_yaxes(title_text=axis_title(metric), col=1)
    counts = search_trials.describe_trial_counts(searches)
    caption = (
        f"One point a trial; crosses were stopped early and stand at their last value. "
        f"{counts.capitalize()}. Trials were not drawn evenly: a search looks where it is good."
    )
    return theme.finish(figure, title, caption, height=90 + 210 * rows)


def _points(found: StoredSearch, path: str, style: Style, legend: bool, rank: int) -> list[go.Scatter]:
    scale, made = metric_scale(found.objectives[0].metric), []
    of = found.space.get(path)
    for trials, symbol in (
        (search_trials.finished_trials(found, allowed=False), style.symbol),
        (search_trials.pruned_trials(found), "x-thin"),
    ):
        drawn = [trial for trial in trials if path in trial.params]
        values = [trial.params[path] for trial in drawn]
        if not drawn and not legend:
            continue
        made.append(
            go.Scatter(
                x=[str(value) for value in values] if of is not None and of.kind == "choice" else values,
                y=[scale * trial.values[0] for trial in drawn],
                customdata=[trial.number for trial in drawn],
                mode="markers",
                marker={
                    "symbol": symbol,
                    "size": 7,
                    "color": with_opacity(style.colour, 0.6),
                    "line": {"color": style.colour, "width": 1.5 if symbol == "x-thin" else 0},
                },
                name=theme.escape_markup(found.label),
                legendgroup=found.label,
                legendrank=1000 + rank,
                showlegend=legend and symbol != "x-thin",
                hovertemplate="%{fullData.name}, trial %{customdata}: %{y:.4g} at %{x}<extra></extra>",
            )
        )
    return made
