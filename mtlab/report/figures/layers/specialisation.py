"""How sharply managers choose, and whether they choose anew for each token and example."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Kind, Layers, Modality
from mtlab.report.figures import parts, theme
from mtlab.report.figures.theme import Style
from mtlab.report.gathered import Source

Measure = Callable[[Layers, Kind, Modality, int], float | None]


def entropy(
    found: Mapping[Source, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Draw each variant's entropy over levels at each cross-modal layer: 0 one level, 1 all levels alike."""
    caption = (
        f"Entropy of the levels' {parts.KINDS[kind]}s at a token, without the previous state's, divided by that of all "
        "levels alike"
    )
    return _by_layer(found, styles, kind, "How sharply managers choose", _entropy, "entropy", caption, top=1.0)


def specialisation(
    found: Mapping[Source, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Draw how far a level's part changes from token to token of an example: 0 where all tokens are treated alike."""
    caption = (
        f"Standard deviation of a level's {parts.KINDS[kind]} over the real tokens of an example, mean over levels: 0 "
        "where all tokens are treated alike"
    )
    return _by_layer(found, styles, kind, "How far managers choose by token", _spread, "spread over tokens", caption)


def previous(
    found: Mapping[Source, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Draw how much of what each manager hands on comes from the cross-modal layers below, not from the towers."""
    caption = f"{parts.KINDS[kind].capitalize()} of the previous cross-modal states, all of them together"
    return _by_layer(found, styles, kind, "How much comes from the layers below", _previous, parts.KINDS[kind], caption)


def _previous(layers: Layers, kind: Kind, modality: Modality, depth: int) -> float | None:
    return layers.previous(kind, modality, depth)


def _entropy(layers: Layers, kind: Kind, modality: Modality, depth: int) -> float | None:
    return layers.one(f"{kind}_entropy", modality, depth)


def _spread(layers: Layers, kind: Kind, modality: Modality, depth: int) -> float | None:
    values = layers.experts(kind, modality, depth, "tokens")
    return None if values is None else float(values.mean())


def _by_layer(
    found: Mapping[Source, Layers],
    styles: Mapping[str, Style] | None,
    kind: Kind,
    title: str,
    measure: Measure,
    name: str,
    meant: str,
    top: float | None = None,
) -> go.Figure:
    names, depths = parts.variants(found), parts.depths(found.values(), kind)
    figure = parts.panels([""], list(MODALITIES), x="cross-modal layer", y=name)
    shown: set[str] = set()
    for column, modality in enumerate(MODALITIES, 1):
        for variant in names:
            runs = [
                [measure(layers, kind, modality, depth) for depth in depths]
                for layers in parts.of(found, variant).values()
            ]
            values = np.array(runs, dtype=float).reshape(len(runs), len(depths))
            values = values[np.isfinite(values).any(1)] if values.size else values
            if not values.size:
                continue
            style = theme.style(styles, variant, names)
            drawn = parts.band([depth + 1 for depth in depths], values, variant, style, legend=variant not in shown)
            shown.add(variant)
            figure.add_traces(drawn, rows=1, cols=column)
    if not shown:
        return theme.empty(title, parts.nothing(found, kind))
    figure.update_xaxes(dtick=1, tickformat="d")
    figure.update_yaxes(rangemode="tozero", range=None if top is None else [0, 1.04 * top])
    silent = [variant for variant in names if variant not in shown]
    caption = (
        f"{meant}. Mean over seeds, band: lowest to highest seed; {parts.seeds(found)}; "
        f"{parts.averaged(found.values())}.{parts.without(silent, kind)}{parts.uncrowded(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=330)
