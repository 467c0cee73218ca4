"""Plots how two variants differ in the levels that they draw on, or one variant before and after training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, Modality
from mtlab.report.figures import panels, theme
from mtlab.report.figures.layers.aggregation import pad_rows
from mtlab.report.recordings import StudyRun, align_levels


def plot_difference(
    first: Mapping[StudyRun, Layers],
    second: Mapping[StudyRun, Layers],
    names: tuple[str, str],
    kind: Kind = "contributions",
) -> go.Figure:
    """Plot first − second as heatmaps of means over seeds; a cell is empty where one side is not offered the level.

    Cells are marked where all seeds of one side lie above all of the other.

    Args:
        first: layers of one side.
        second: layers of the other.
        names: of the two sides.
        kind: contributions or weights.

    """
    title = f"{names[0]} less {names[1]}: {panels.KINDS[kind]} of each level"
    aligned = align_levels(
        {(0, run): own for run, own in first.items()} | {(1, run): own for run, own in second.items()}
    )
    first, second = ({run: aligned[at, run] for run in side} for at, side in enumerate((first, second)))
    made = {modality: _matrix(first, second, kind, modality) for modality in MODALITIES}
    if all(each is None for each in made.values()):
        return theme.empty(title, _nothing(first, second, names, kind))
    both = [*first.values(), *second.values()]
    modalities = panels.recorded_modalities(both)
    figure = panels.make_panels([""], modalities, x="level", shared_y="rows")
    largest = max(float(np.nanmax(np.abs(each[2]))) for each in made.values() if each is not None) or 1.0
    depth = 1
    for column, modality in enumerate(modalities, 1):
        found = made[modality]
        if found is None:
            continue
        columns, depths, values, apart = found
        depth = max(depth, len(depths))
        text = [
            [_format_difference(value, mark=mark) for value, mark in zip(row, marks, strict=True)]
            for row, marks in zip(values, apart, strict=True)
        ]
        drawn = panels.heatmap_trace(
            columns,
            panels.layer_names(depths, panels.first_layer(both)),
            values,
            text=text,
            hover="%{x}, %{y}: %{text}<extra></extra>",
            diverging=True,
        )
        figure.add_trace(drawn, row=1, col=column)
    figure.update_xaxes(type="category")
    figure.update_layout(coloraxis={"cmin": -largest, "cmax": largest})
    empty = any(np.isnan(each[2]).any() for each in made.values() if each is not None)
    caption = (
        f"{panels.KIND_MEANINGS[kind]}. {panels.PREVIOUS_COLUMN}: the previous states, together. "
        f"Differences of {'means over seeds' if max(len(first), len(second)) > 1 else 'single runs'} ({names[0]}: n = "
        f"{len(first)}, {names[1]}: n = {len(second)}); *: all seeds of one lie above all of the other (marked from 3 "
        f"seeds each on). {'Empty: what one of them does not have. ' if empty else ''}"
        f"{panels.describe_averaging(both).capitalize()}.{panels.explain_removal({**second, **first}, kind)}"
    )
    return theme.finish(figure, title, caption, height=120 + 34 * depth)


def _nothing(
    first: Mapping[StudyRun, Layers], second: Mapping[StudyRun, Layers], names: tuple[str, str], kind: Kind
) -> str:
    without = [
        name
        for name, side in zip(names, (first, second), strict=True)
        if not panels.recorded_depths(side.values(), kind)
    ]
    if without:
        return f"There are no {kind} to compare: {' and '.join(without)} has none."
    return f"{names[0]} and {names[1]} draw on different levels: there is nothing to subtract."


def _format_difference(value: float, *, mark: bool) -> str:
    """Format a difference; one that rounds to zero has no sign and no mark.

    >>> _format_difference(-0.123, mark=True), _format_difference(-0.001, mark=True)
    ('−0.12*', '0.00')
    """
    if np.isnan(value):
        return ""
    if abs(value) < 0.005:
        return "0.00"
    return f"{value:+.2f}{'*' if mark else ''}".replace("-", "−")


def _with_previous(layers: Layers, kind: Kind, modality: Modality, depth: int) -> Array | None:
    """Return the levels' parts, then that of the previous states together, if there are any."""
    experts, previous = layers.experts(kind, modality, depth), layers.previous(kind, modality, depth)
    return experts if experts is None or previous is None else np.append(experts, previous)


def _matrix(
    first: Mapping[StudyRun, Layers], second: Mapping[StudyRun, Layers], kind: Kind, modality: Modality
) -> tuple[list[str], list[int], Array, Array] | None:
    """Return columns [N], depths [K], differences [K, N], and whether the seeds are apart [K, N].

    The last column is that of the previous states, if both sides have any; not a number where there are none.
    """
    levels = next((each.levels.get(modality) for each in first.values()), None)
    depths, differences, marks = [], [], []
    for depth in panels.recorded_depths([*first.values(), *second.values()], kind):
        one, other = (
            panels.stack_runs(_with_previous(each, kind, modality, depth) for each in side.values())
            for side in (first, second)
        )
        if one is None or other is None or (one.shape[1] != other.shape[1] and not levels):
            continue
        width = min(one.shape[1], other.shape[1])  # without the previous states that one side alone has
        one, other = one[:, :width], other[:, :width]
        difference = one.mean(0) - other.mean(0)
        if np.isnan(difference).all():  # no level is offered on both sides
            continue
        depths.append(depth)
        differences.append(difference)
        enough = min(len(one), len(other)) >= 3
        marks.append(enough & ((one.min(0) > other.max(0)) | (other.min(0) > one.max(0))))
    if not depths:
        return None
    columns = [*map(str, levels or range(1, len(differences[0]) + 1)), panels.PREVIOUS_COLUMN]
    values = pad_rows(differences)
    return columns[: values.shape[1]], depths, values, pad_rows([mark.astype(float) for mark in marks]) > 0
