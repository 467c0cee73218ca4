"""Which levels each manager draws on, as heatmaps: rows are cross-modal layers, columns are levels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, Modality
from mtlab.report.figures import parts, theme
from mtlab.report.gathered import Source


def heatmaps(found: Mapping[Source, Layers], kind: Kind = "contributions") -> go.Figure:
    """Draw a pair of heatmaps, text and image, for each variant: means over seeds."""
    title = f"Which layers the managers draw on: {parts.KINDS[kind]} of each level"
    names = [name for name in parts.variants(found) if _any(parts.of(found, name), kind)]
    if not names:
        return theme.empty(title, parts.nothing(found, kind))
    figure = parts.panels(names, list(MODALITIES), x="level", shared_y="rows")
    for row, variant in enumerate(names, 1):
        for column, modality in enumerate(MODALITIES, 1):
            made = matrix(parts.of(found, variant), kind, modality)
            if made is None:
                continue
            levels, depths, values = made
            drawn = parts.heat(
                [str(level) for level in levels],
                parts.layer_names(depths),
                values,
                hover="level %{x}, %{y}: %{z:.3f}<extra></extra>",
                bar=row == column == 1,
            )
            figure.add_trace(drawn, row=row, col=column)
    figure.update_xaxes(type="category")
    caption = f"{parts.MEANT[kind]}. Means over seeds; {parts.seeds(found)}; {parts.averaged(found.values())}."
    depth = max(len(parts.depths(parts.of(found, name).values(), kind)) for name in names)
    return theme.finish(figure, title, caption, height=90 + len(names) * (60 + 26 * depth))


def matrix(
    runs: Mapping[Source, Layers], kind: Kind, modality: Modality
) -> tuple[tuple[int, ...], list[int], Array] | None:
    """Average one variant's runs: levels [N], depths [K], means [K, N]; None where nothing is recorded."""
    depths = [depth for depth in parts.depths(runs.values(), kind) if _rows(runs, kind, modality, depth) is not None]
    rows = [rows for depth in depths if (rows := _rows(runs, kind, modality, depth)) is not None]
    if not rows:
        return None
    widest = max(len(row) for row in rows)
    padded = [np.pad(row, (0, widest - len(row)), constant_values=np.nan) for row in rows]
    return next(iter(runs.values())).experts_levels(modality, widest), depths, np.stack(padded)


def _rows(runs: Mapping[Source, Layers], kind: Kind, modality: Modality, depth: int) -> Array | None:
    values = parts.stacked(each.experts(kind, modality, depth) for each in runs.values())
    return None if values is None else values.mean(0)


def _any(runs: Mapping[Source, Layers], kind: Kind) -> bool:
    return any(matrix(runs, kind, modality) is not None for modality in MODALITIES)
