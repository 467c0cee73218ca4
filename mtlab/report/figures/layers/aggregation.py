"""Plots the levels that managers draw on: a panel per cross-modal layer and modality, a line per variant."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Kind, Layers
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
    shown: set[str] = set()
    for row, modality in enumerate(MODALITIES, 1):
        for column, depth in enumerate(depths, 1):
            for variant in names:
                runs = panels.runs_of(found, variant)
                values = panels.stack_runs(each.experts(kind, modality, depth) for each in runs.values())
                if values is None:
                    continue
                levels = next(iter(runs.values())).experts_levels(modality, values.shape[1])
                style = theme.find_style(styles, variant, names)
                drawn = panels.band_traces(levels, values, variant, style, legend=variant not in shown)
                shown.add(variant)
                figure.add_traces(drawn, rows=row, cols=column)
    figure.update_xaxes(dtick=1, tickformat="d").update_yaxes(rangemode="tozero")
    missing = [name for name in names if name not in shown]
    caption = (
        f"{panels.KIND_MEANINGS[kind]}. Mean over seeds, band: lowest to highest seed; {panels.describe_sample(found)}."
        f"{panels.list_without(missing, kind)}{panels.hide_beyond_limit(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=430)
