"""Plots a logged metric over the steps of training: mean over seeds with a band."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import Array
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.formats import numbers
from mtlab.report.recordings import MetricHistory, StudyRun


def plot_curves(
    found: Mapping[StudyRun, MetricHistory], metric: str = "val/accuracy", styles: Mapping[str, Style] | None = None
) -> go.Figure:
    """Plot a logged metric of each variant, at the steps that all runs of the variant logged."""
    points = numbers.in_points(metric)
    title = f"Learning curves: {metric}"
    names = panels.variant_labels(found)
    figure = panels.make_panels([""], [""], x="step of training", y=f"{metric}{', points' if points else ''}")
    drawn = []
    for variant in names:
        runs = panels.runs_of(found, variant)
        made = _align(list(runs.values()), metric)
        if made is None:
            continue
        steps, values = made
        drawn.append(variant)
        style = theme.find_style(styles, variant, names)
        hover = "%{y:.1f} at step %{x:,}" if points else "%{y:.4g} at step %{x:,}"
        figure.add_traces(
            panels.band_traces(steps, values * (100 if points else 1), variant, style, legend=True, hover=hover)
        )
    if not drawn:
        return theme.empty(
            title, f"No run has logged {metric} yet; logged: {', '.join(logged_metrics(found)) or 'nothing'}."
        )
    data = "validation data" if metric.startswith("val/") else "training batches" if metric.startswith("train/") else ""
    caption = (
        f"Mean over seeds, band: lowest to highest seed; {panels.describe_seeds(found)}"
        f"{f'; on {data}' if data else ''}. A mean over seeds may rise smoothly where single seeds jump."
    ) + panels.hide_beyond_limit(figure, names)
    return theme.finish(figure, title, caption, height=380)


def logged_metrics(found: Mapping[StudyRun, MetricHistory]) -> list[str]:
    """Return the names of the logged metrics."""
    names = dict.fromkeys(name for history in found.values() for row in history for name in row)
    return [name for name in names if name not in ("step", "seconds")]


def _align(histories: list[MetricHistory], metric: str) -> tuple[list[int], Array] | None:
    """Align runs at the steps that all of them logged: steps [S], values [runs, S]."""
    logged = [{row["step"]: row[metric] for row in history if metric in row} for history in histories]
    logged = [each for each in logged if each]
    if not logged:
        return None
    steps = sorted(set.intersection(*(set(each) for each in logged)))
    values = np.array([[each[step] for step in steps] for each in logged], dtype=float)
    return (steps, values) if steps else None
