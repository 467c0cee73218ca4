"""Plots how sharply managers choose, how much by token, and how much comes from the layers below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import Kind, Layers, Modality
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun

Measure = Callable[[Kind, Layers, Modality, int], float | None]


def plot_entropy(
    found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Plot each variant's entropy over levels at each cross-modal layer: 0 one level, 1 all levels alike."""
    caption = (
        f"Entropy of the levels' {panels.KINDS[kind]}s at a token, without the previous state's, divided by that of "
        "all levels alike"
    )
    title, alone = "How sharply managers choose", "a single level"
    return _by_layer(found, styles, kind, title, _entropy, "entropy", caption, alone, top=1.0)


def plot_specialisation(
    found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Plot the spread of a level's part over the tokens of an example: 0 where all tokens are treated alike."""
    caption = (
        f"Standard deviation of a level's {panels.KINDS[kind]} over the real tokens of an example, mean over levels: 0 "
        "where all tokens are treated alike"
    )
    title = "How far managers choose by token"
    return _by_layer(found, styles, kind, title, _spread, "spread over tokens", caption, "no spread")


def plot_previous(
    found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Plot the share of each manager's output that comes from the cross-modal layers below."""
    caption = f"{panels.KINDS[kind].capitalize()} of the previous states, all of them together"
    title, alone = "How much comes from the layers below", "no previous states"
    return _by_layer(found, styles, kind, title, _previous, panels.KINDS[kind], caption, alone)


def _previous(kind: Kind, layers: Layers, modality: Modality, depth: int) -> float | None:
    return layers.previous(kind, modality, depth)


def _entropy(kind: Kind, layers: Layers, modality: Modality, depth: int) -> float | None:
    return layers.one(f"{kind}_entropy", modality, depth)


def _spread(kind: Kind, layers: Layers, modality: Modality, depth: int) -> float | None:
    values = layers.experts(kind, modality, depth, "tokens")
    return None if values is None else float(np.nanmean(values))


def _by_layer(
    found: Mapping[StudyRun, Layers],
    styles: Mapping[str, Style] | None,
    kind: Kind,
    title: str,
    measure: Measure,
    name: str,
    meaning: str,
    alone: str,
    top: float | None = None,
) -> go.Figure:
    names = panels.variant_labels(found)
    figure, shown = panels.layer_bands(found, styles, kind, partial(measure, kind), name)
    if not shown:
        return theme.empty(title, panels.explain_missing(found, kind))
    figure.update_yaxes(rangemode="tozero", range=None if top is None else [0, 1.04 * top])
    missing = [variant for variant in names if variant not in shown]
    silent = [
        variant for variant in missing if not panels.recorded_depths(panels.runs_of(found, variant).values(), kind)
    ]
    rest = ", ".join(variant for variant in missing if variant not in silent)
    others = f" Not shown: {rest} ({alone})." if rest else ""
    caption = (
        f"{meaning}. {panels.describe_sample(found)}.{panels.explain_removal(found, kind)}"
        f"{panels.list_without(silent, kind)}{others}{panels.hide_beyond_limit(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=330)
