"""Plots the levels that managers draw on: as lines, a panel per cross-modal layer and modality, or as heatmaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, Modality
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun


def plot_aggregation(
    found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Plot the mean over seeds and a band from the lowest to the highest seed; rows: text, image; x: level."""
    title = f"Which layers the managers draw on: {panels.KINDS[kind]} of each level"
    depths, names = panels.recorded_depths(found.values(), kind), panels.variant_labels(found)
    if not depths:
        return theme.empty(title, panels.explain_missing(found, kind))
    figure = panels.make_panels(
        list(MODALITIES), panels.layer_names(depths), x="level", y=panels.KINDS[kind], shared_y="all", shared_x=False
    )

    def bands() -> Iterator[panels.VariantValues]:
        for row, modality in enumerate(MODALITIES, 1):
            for column, depth in enumerate(depths, 1):
                for variant in names:
                    runs = list(panels.runs_of(found, variant).values())
                    values = panels.stack_runs(each.experts(kind, modality, depth) for each in runs)
                    levels = () if values is None else runs[0].experts_levels(modality, values.shape[1])
                    yield row, column, variant, levels, values

    shown = panels.add_bands(figure, names, styles, bands())
    figure.update_xaxes(dtick=1, tickformat="d").update_yaxes(rangemode="tozero")
    missing = [name for name in names if name not in shown]
    caption = (
        f"{panels.KIND_MEANINGS[kind]}. Mean over seeds, band: lowest to highest seed; {panels.describe_sample(found)}."
        f"{panels.list_without(missing, kind)}{panels.hide_beyond_limit(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=430)


def plot_heatmaps(found: Mapping[StudyRun, Layers], kind: Kind = "contributions") -> go.Figure:
    """Plot a pair of heatmaps, text and image, for each variant: means over seeds."""
    title = f"Which layers the managers draw on: {panels.KINDS[kind]} of each level"
    names = [name for name in panels.variant_labels(found) if _any(panels.runs_of(found, name), kind)]
    if not names:
        return theme.empty(title, panels.explain_missing(found, kind))
    figure = panels.make_panels(names, list(MODALITIES), x="level", shared_y="rows")
    for row, variant in enumerate(names, 1):
        for column, modality in enumerate(MODALITIES, 1):
            made = level_matrix(panels.runs_of(found, variant), kind, modality)
            if made is None:
                continue
            levels, depths, values = made
            drawn = panels.heatmap_trace(
                [str(level) for level in levels],
                panels.layer_names(depths),
                values,
                hover="level %{x}, %{y}: %{z:.3f}<extra></extra>",
                bar=row == column == 1,
            )
            figure.add_trace(drawn, row=row, col=column)
    figure.update_xaxes(type="category")
    caption = f"{panels.KIND_MEANINGS[kind]}. Means over seeds; {panels.describe_sample(found)}."
    depth = max(len(panels.recorded_depths(panels.runs_of(found, name).values(), kind)) for name in names)
    return theme.finish(figure, title, caption, height=90 + len(names) * (60 + 26 * depth))


def level_matrix(
    runs: Mapping[StudyRun, Layers], kind: Kind, modality: Modality
) -> tuple[tuple[int, ...], list[int], Array] | None:
    """Average the runs of one variant: levels [N], depths [K], means [K, N]; None where nothing is recorded."""
    depths = [
        depth for depth in panels.recorded_depths(runs.values(), kind) if _rows(runs, kind, modality, depth) is not None
    ]
    rows = [rows for depth in depths if (rows := _rows(runs, kind, modality, depth)) is not None]
    if not rows:
        return None
    widest = max(len(row) for row in rows)
    padded = [np.pad(row, (0, widest - len(row)), constant_values=np.nan) for row in rows]
    return next(iter(runs.values())).experts_levels(modality, widest), depths, np.stack(padded)


def _rows(runs: Mapping[StudyRun, Layers], kind: Kind, modality: Modality, depth: int) -> Array | None:
    values = panels.stack_runs(each.experts(kind, modality, depth) for each in runs.values())
    return None if values is None else values.mean(0)


def _any(runs: Mapping[StudyRun, Layers], kind: Kind) -> bool:
    return any(level_matrix(runs, kind, modality) is not None for modality in MODALITIES)
