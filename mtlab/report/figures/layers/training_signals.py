"""Plots gradient norms over training, learned temperatures, and the entropy of attention heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Layers, Modality, TrainingTrace
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun

AttentionKind = Literal["self", "cross"]


def plot_gradients(found: Mapping[StudyRun, TrainingTrace], variant: str) -> go.Figure:
    """Plot the norm of the gradient of each part of one variant over the recorded steps."""
    title = f"Gradients of {variant} by part"
    runs = panels.runs_of(found, variant)
    names = list(dict.fromkeys(part for trace in runs.values() for part in trace.gradients))
    if not names:
        return theme.empty(title, "No finished run has recorded its gradients.")
    steps = panels.shared_steps(runs.values())
    figure = panels.make_panels([""], [""], x="step of training", y="norm before clipping")
    styles, places = theme.assign_styles(names), [str(step) for step in steps]
    for part in names:
        values = panels.stack_runs(_at(trace, part, steps) for trace in runs.values())
        if values is not None:
            values = np.where(values > 0, values, np.nan)  # the axis is logarithmic
            figure.add_traces(panels.band_traces(places, values, part, styles[part], legend=True))
    figure.update_yaxes(type="log", **_decades(figure))
    figure.update_xaxes(type="category", tickvals=places, ticktext=[f"{step:,}" for step in steps])
    caption = f"{panels.describe_means(runs)}."
    return theme.finish(figure, title, caption, height=380)


def _at(trace: TrainingTrace, part: str, steps: Sequence[int]) -> Array | None:
    norms = trace.gradients.get(part)
    return None if norms is None else norms[[place for place, step in enumerate(trace.steps) if step in steps]]


def plot_temperatures(found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot the temperature that each manager learned, by cross-modal layer: below 1 it sharpens its choice."""
    title = "Temperature of each manager's choice"

    def temperature(layers: Layers, modality: Modality, depth: int) -> float | None:
        return layers.one("temperature", modality, depth)

    figure, shown = panels.layer_bands(found, styles, "temperature", temperature, "temperature")
    if not shown:
        return theme.empty(title, "No finished run has a manager with a temperature.")
    meaning = "Scores of levels are divided by it before the softmax: below 1 a manager chooses more sharply"
    caption = f"{meaning}. At the best checkpoint. {panels.describe_means(found)}."
    caption += panels.hide_beyond_limit(figure, panels.variant_labels(found))
    return theme.finish(figure, title, caption, height=330)


def plot_attention(found: Mapping[StudyRun, Layers], variant: str, of: AttentionKind = "cross") -> go.Figure:
    """Plot the entropy of each attention head of one variant: 0 one token, 1 all tokens alike."""
    title = f"How widely the heads of {variant} look: {of}-attention"
    runs = panels.runs_of(found, variant)
    means = {
        (modality, depth): np.sort(values).mean(0)  # each run's heads: those of two seeds have no order in common
        for modality in MODALITIES
        for depth in panels.recorded_depths(runs.values(), "attention")
        if (
            values := panels.stack_runs(each.values.get(f"attention/{modality}/{depth}/{of}") for each in runs.values())
        )
        is not None
    }
    if not means:
        return theme.empty(title, "No finished run has recorded its attention.")
    figure = panels.make_panels([""], list(MODALITIES), x="heads, narrowest first", shared_y="rows")
    for column, modality in enumerate(MODALITIES, 1):
        depths = [depth for where, depth in means if where == modality]
        if depths:
            values = np.stack([means[modality, depth] for depth in depths])
            drawn = panels.heatmap_trace(
                [str(head + 1) for head in range(values.shape[1])],
                panels.layer_names(depths),
                values,
                hover="%{y}, %{x}. narrowest head: %{z:.2f}<extra></extra>",
                bar=column == 1,
            )
            figure.add_trace(drawn, row=1, col=column)
    figure.update_xaxes(type="category")
    caption = (
        "Entropy of a head's attention divided by that of looking at all tokens alike. Heads are sorted, as their "
        f"order means nothing from seed to seed. {panels.describe_sample(runs, spread='')}."
    )
    return theme.finish(figure, title, caption, height=300)


def _decades(figure: go.Figure) -> dict[str, list[Any]]:
    """Return ticks at 1, 2 and 5 of each decade that a figure's lines reach."""
    values = np.concatenate([np.array(trace.y, dtype=float) for trace in figure.data])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return {}
    low, high = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))
    ticks = [
        digit * 10.0**power for power in np.arange(low, high + 1) for digit in ((1, 2, 5) if high - low < 4 else (1,))
    ]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
