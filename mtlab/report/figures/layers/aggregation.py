"""Which levels each manager draws on, as papers print it: a panel per cross-modal layer, a line per variant."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Kind, Layers
from mtlab.report.figures import parts, theme
from mtlab.report.figures.theme import Style
from mtlab.report.gathered import Source


def aggregation(
    found: Mapping[Source, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Draw the mean over seeds and a band from the lowest to the highest seed; rows: text, image; x: level."""
    title = f"Which layers the managers draw on: {parts.KINDS[kind]} of each level"
    depths, names = parts.depths(found.values(), kind), parts.variants(found)
    if not depths:
        return theme.empty(title, parts.nothing(found, kind))
    figure = parts.panels(
        list(MODALITIES), parts.layer_names(depths), x="level", y=parts.KINDS[kind], shared_y="all", shared_x=False
    )
    shown: set[str] = set()
    for row, modality in enumerate(MODALITIES, 1):
        for column, depth in enumerate(depths, 1):
            for variant in names:
                runs = parts.of(found, variant)
                values = parts.stacked(each.experts(kind, modality, depth) for each in runs.values())
                if values is None:
                    continue
                levels = next(iter(runs.values())).experts_levels(modality, values.shape[1])
                style = theme.style(styles, variant, names)
                drawn = parts.band(levels, values, variant, style, legend=variant not in shown)
                shown.add(variant)
                figure.add_traces(drawn, rows=row, cols=column)
    figure.update_xaxes(dtick=1, tickformat="d").update_yaxes(rangemode="tozero")
    silent = [name for name in names if name not in shown]
    caption = (
        f"{parts.MEANT[kind]}. Mean over seeds, band: lowest to highest seed; {parts.seeds(found)}; "
        f"{parts.averaged(found.values())}.{parts.without(silent, kind)}{parts.uncrowded(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=430)
