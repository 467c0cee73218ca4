"""Plots the levels that managers draw on over training: a panel per cross-modal layer, a line per level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Modality, TrainingTrace
from mtlab.recording.token_levels import PREVIOUS
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun


def plot_evolution(found: Mapping[StudyRun, TrainingTrace], variant: str, kind: Kind = "contributions") -> go.Figure:
    """Plot one variant's levels over the recorded steps; rows: text, image."""
    title = f"How {variant} came to draw on its levels: {panels.KINDS[kind]} over training"
    runs = panels.runs_of(found, variant)
    first = [trace.layers[0] for trace in runs.values() if trace.layers]
    depths = panels.recorded_depths(first, kind)
    steps = panels.shared_steps(runs.values())
    if not runs or not steps:
        return theme.empty(
            title, f"No finished run of {variant} has recorded it: `record.trace: true` (the default) does."
        )
    if not depths:
        return theme.empty(title, panels.explain_missing(runs, kind))
    modalities, layers = panels.recorded_modalities(first), panels.layer_names(depths, panels.first_layer(first))
    figure = panels.make_panels(modalities, layers, x="step of training", y=panels.KINDS[kind])
    every = sorted({level for modality in MODALITIES for level in first[0].levels.get(modality, ())})
    colours = dict(zip(every, theme.level_colours(len(every)), strict=True))
    shown: set[int | str] = set()
    places = [str(step) for step in steps]  # as categories: evenly spaced, and saved as the steps that they are
    for row, modality in enumerate(modalities, 1):
        for column, depth in enumerate(depths, 1):
            values = panels.stack_runs(_over_steps(trace, steps, kind, modality, depth) for trace in runs.values())
            if values is None:
                continue
            levels = first[0].experts_levels(modality, values.shape[2])
            offered = panels.find_offered(values)
            for place, level in enumerate(levels):
                if not offered[place]:
                    continue  # to some of these managers
                drawn = panels.band_traces(
                    places,
                    values[:, :, place],
                    f"level {level}",
                    Style(colours.get(level, theme.NEUTRAL)),
                    legend=level not in shown,
                    rank=level,
                )
                shown.add(level)
                figure.add_traces(drawn, rows=row, cols=column)
            below = panels.stack_runs(
                _previous_over_steps(trace, steps, kind, modality, depth) for trace in runs.values()
            )
            if below is not None:
                style = Style(theme.NEUTRAL, "dot")
                drawn = panels.band_traces(
                    places, below, "previous state", style, legend=PREVIOUS not in shown, rank=10_000
                )
                shown.add(PREVIOUS)
                figure.add_traces(drawn, rows=row, cols=column)
    ticks = _ticks(len(steps), len(depths))
    figure.update_xaxes(
        type="category",
        tickvals=[places[tick] for tick in ticks],
        ticktext=[f"{steps[tick]:,}" for tick in ticks],
    )
    figure.update_yaxes(rangemode="tozero")
    caption = (
        f"{panels.KIND_MEANINGS[kind]}. Steps are those recorded, logarithmically spaced. "
        f"{panels.describe_means(runs)}; {panels.describe_averaging(first)}."
        f"{panels.explain_removal({run: trace.layers[-1] for run, trace in runs.items()}, kind)}"
    )
    return theme.finish(figure, title, caption, height=430)


def _over_steps(trace: TrainingTrace, steps: Sequence[int], kind: Kind, modality: Modality, depth: int) -> Array | None:
    """Return the parts of the levels at some steps, [S, N]."""
    return panels.stack_runs(
        layers.experts(kind, modality, depth) for layers in trace.layers if (layers.step or 0) in steps
    )


def _previous_over_steps(
    trace: TrainingTrace, steps: Sequence[int], kind: Kind, modality: Modality, depth: int
) -> Array | None:
    """Return the part of the previous states at some steps, [S]; None where there are none."""
    parts = [layers.previous(kind, modality, depth) for layers in trace.layers if (layers.step or 0) in steps]
    return np.array(parts, float) if parts and None not in parts else None


def _ticks(steps: int, panels: int) -> list[int]:
    """Return the indices of the recorded steps that are labelled below a panel."""
    stride = max(1, -(-steps * panels // 18))
    return list(range(steps - 1, -1, -stride))[::-1]
