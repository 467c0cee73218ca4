"""Plots all settings of a variant's trials: Optuna's parallel coordinates in our theme."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from mtlab.report.figures import theme
from mtlab.report.figures.metric_axes import axis_title, metric_scale
from mtlab.report.figures.sweep import search_trials
from mtlab.report.figures.theme import NEUTRAL, Style, with_opacity
from mtlab.sweeps.optuna_helpers import silence_optuna
from mtlab.sweeps.stored import StoredSearch


def plot_parallel_coordinates(found: StoredSearch, styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot a line for each finished trial of one variant through all of its settings, the best one bold."""
    metric = found.objectives[0].metric
    title = f"All settings at once: {found.label}"
    trials = search_trials.finished_trials(found, allowed=False)
    if found.study is None or len(trials) < 2:
        return theme.empty(title, "It takes two finished trials.")
    from optuna.visualization import plot_parallel_coordinate

    with silence_optuna():
        figure = plot_parallel_coordinate(
            found.study,
            target=lambda trial: metric_scale(metric) * trial.values[0],
            target_name=axis_title(metric),
        )
    figure.data = [trace for trace in figure.data if trace.mode == "lines" and not trace.showlegend]
    if not figure.data:
        return theme.empty(title, "No setting was drawn in all trials.")
    colour, rising = theme.find_style(styles, found.label, [found.label]).colour, found.objectives[0].mode == "max"
    values = [trial.values[0] for trial in trials]
    low, reach = min(values), (max(values) - min(values)) or 1.0
    best = None if found.best is None else (found.best.values[0] - low) / reach
    for trace in figure.data:  # the first axis is the objective, from its lowest to its highest value
        good = trace.y[0] if rising else 1 - trace.y[0]
        leads = best is not None and abs(trace.y[0] - best) < 1e-9
        width = 3.5 if leads else 1.2
        trace.update(line={"color": colour if leads else with_opacity(colour, 0.15 + 0.6 * good), "width": width})
        trace.update(opacity=1)
    figure.update_shapes(line={"color": NEUTRAL, "width": 1})
    figure.update_layout(title=None, plot_bgcolor=None)
    for annotation in figure.layout.annotations:
        annotation.font.color = None
    refused = len(trials) - len(search_trials.finished_trials(found))
    caption = (
        f"One line a finished trial of {found.label} ({len(trials)} trials), the stronger the better, the best bold. "
        "Axes go from the lowest to the highest value that was drawn; None: a trial without this setting."
    )
    caption += f" Of these, {refused} broke a constraint, and cannot win." if refused else ""
    settings = sorted({path for trial in trials for path in trial.params})  # Optuna's order; its labels are cut short
    names = [axis_title(metric), *(path.rpartition(".")[2] for path in settings)]
    for trace in figure.data:
        trace.customdata = [[name, value] for name, (_, value) in zip(names, trace.customdata, strict=True)]
    figure.layout.xaxis.ticktext = [theme.axis_label(name) for name in names]
    return theme.finish(figure, title, caption, height=420)
