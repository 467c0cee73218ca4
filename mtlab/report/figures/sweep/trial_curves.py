"""Plots the learning curves of a variant's trials, and where trials were pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mtlab.report.figures import panels, theme
from mtlab.report.figures.metric_axes import axis_title, metric_scale
from mtlab.report.figures.sweep import search_trials
from mtlab.report.figures.theme import NEUTRAL, Style, with_opacity
from mtlab.runs.store import Store
from mtlab.sweeps.status import CELL
from mtlab.sweeps.stored import StoredSearch
from mtlab.sweeps.trial_metrics import LearningCurve

TrialCurves = Mapping[int, Sequence[tuple[int, float]]]  #: trial → step, value


def read_trial_curves(store: Store, found: StoredSearch) -> TrialCurves:
    """Read the curve of each trial's first seed, of a pruned trial up to its last step."""
    objective, curves = found.objectives[0], {}
    for trial in found.trials:
        cell = trial.user_attrs.get(CELL)
        if cell is None:
            continue
        curve = LearningCurve(store.run(f"{cell}/s0") / "metrics.jsonl", objective)
        points = curve.read()
        last = trial.last_step if found.status.states[trial.number] == "pruned" else None
        if last not in [step for step, _ in points]:  # not pruned, or by what is no step: the seeds of `wilcoxon`
            last = None
        curves[trial.number] = [point for point in points if last is None or point[0] <= last]
    return curves


def plot_trial_curves(found: StoredSearch, of: TrialCurves, styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot the curve of each trial of one variant; the best one is bold, pruned ones end in a cross."""
    metric = found.objectives[0].metric
    title = f"Curves of the trials of {found.label}: {metric}"
    shown = {number: points for number, points in of.items() if points}
    if not shown:
        return theme.empty(title, "No trial has logged it yet.")
    style, scale = theme.find_style(styles, found.label, [found.label]), metric_scale(metric)
    best = None if found.best is None else found.best.number
    figure = panels.make_panels([""], [""], x="step of training", y=axis_title(metric))
    for number in sorted(shown, key=lambda number: number == best):  # the best one on top
        word, points = found.status.states[number], shown[number]
        leads, stopped = number == best, word == "pruned"
        colour = style.colour if leads else NEUTRAL if stopped else with_opacity(style.colour, 0.55)
        figure.add_trace(
            go.Scatter(
                x=[step for step, _ in points],
                y=[scale * value for _, value in points],
                mode="lines+markers",
                line={"color": colour, "width": 3 if leads else 1.2, "dash": "dot" if stopped else "solid"},
                marker={
                    "symbol": ["circle"] * (len(points) - 1) + ["x" if stopped else "circle"],
                    "size": [4] * (len(points) - 1) + [8 if stopped else 5],
                    "color": colour,
                },
                name=f"trial {number}, {word}",
                showlegend=False,
                hovertemplate="%{fullData.name}: %{y:.4g} at step %{x:,}<extra></extra>",
            )
        )
    counts = search_trials.describe_trial_counts([found])
    caption = (
        f"First seed of each trial, on validation data. Bold: the best one{'' if best is None else f', trial {best}'}; "
        f"dotted, with a cross: stopped early by the pruner. {counts.capitalize()}."
    )
    return theme.finish(figure, title, caption, height=380)
