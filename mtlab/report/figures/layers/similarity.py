"""Plots the similarity of managers' outputs between cross-modal layers: cosine, or CKA (rotation-invariant)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Layers, Modality
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun

SimilarityMeasure = Literal["cka", "cosine"]
MEASURE_NAMES: Mapping[SimilarityMeasure, str] = {"cka": "CKA", "cosine": "cosine similarity"}
_NOTHING = "No finished run has recorded how alike the outputs of its managers are."


def plot_consecutive(
    found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None = None, measure: SimilarityMeasure = "cka"
) -> go.Figure:
    """Plot the similarity of each manager's output to that of the layer below, a line per variant."""
    title = f"How alike consecutive managers' outputs are: {MEASURE_NAMES[measure]}"
    names = panels.variant_labels(found)
    modalities = _modalities(found)
    x = f"{panels.layer_word(found.values())}s".replace("layer of the language models", "layers of the language model")
    figure = panels.make_panels([""], modalities, x=x, y=MEASURE_NAMES[measure])

    def bands() -> Iterator[panels.VariantValues]:
        for column, modality in enumerate(modalities, 1):
            for variant in names:
                matrices = _matrices(found, variant, measure, modality)
                if matrices is not None and matrices.shape[1] > 1:
                    values = np.stack([np.diagonal(each, 1) for each in matrices])
                    places = _places(found, variant, modality, matrices.shape[1])
                    yield 1, column, variant, [f"{low} → {high}" for low, high in pairwise(places)], values

    if not panels.add_bands(figure, names, styles, bands()):
        return theme.empty(title, _NOTHING)
    figure.update_yaxes(rangemode="tozero")
    caption = _caption(found, measure, band=True) + panels.hide_beyond_limit(figure, names)
    return theme.finish(figure, title, caption, height=330)


def plot_similarity(found: Mapping[StudyRun, Layers], variant: str, measure: SimilarityMeasure = "cka") -> go.Figure:
    """Plot the similarity of all pairs of outputs of one variant's managers: means over seeds."""
    title = f"How alike the outputs of {variant} are from layer to layer: {MEASURE_NAMES[measure]}"
    runs = panels.runs_of(found, variant)
    modalities, word = _modalities(runs), panels.layer_word(runs.values())
    figure = panels.make_panels([""], modalities, x=word, y=word, shared_y="rows")
    size = 0
    for column, modality in enumerate(modalities, 1):
        matrices = _matrices(found, variant, measure, modality)
        if matrices is not None:
            size = max(size, matrices.shape[1])
            places = [*map(str, _places(found, variant, modality, matrices.shape[1]))]
            hover = "layers %{x} and %{y}: %{z:.3f}<extra></extra>"
            figure.add_trace(
                panels.heatmap_trace(places, places, matrices.mean(0), hover=hover, bar=column == 1), row=1, col=column
            )
    if not size:
        return theme.empty(title, _NOTHING)
    figure.update_xaxes(type="category").update_yaxes(type="category")
    return theme.finish(figure, title, _caption(runs, measure, band=False), height=130 + 40 * size)


def _modalities(found: Mapping[StudyRun, Layers]) -> list[Modality]:
    held = [
        m
        for m in MODALITIES
        if any(f"{measure}/{m}" in each.values for measure in MEASURE_NAMES for each in found.values())
    ]
    return held or list(MODALITIES)


def _places(found: Mapping[StudyRun, Layers], variant: str, modality: Modality, number: int) -> list[int]:
    """Number the layers of a variant's managers, as its first run does."""
    return next(iter(panels.runs_of(found, variant).values())).places(modality, number)


def _matrices(
    found: Mapping[StudyRun, Layers], variant: str, measure: SimilarityMeasure, modality: Modality
) -> Array | None:
    return panels.stack_runs(
        each.values.get(f"{measure}/{modality}") for each in panels.runs_of(found, variant).values()
    )


def _caption(found: Mapping[StudyRun, Layers], measure: SimilarityMeasure, *, band: bool) -> str:
    return (
        f"{MEASURE_NAMES[measure]} between the outputs of the managers of two layers; 1: the same. "
        f"{panels.describe_sample(found, 'band: lowest to highest seed' if band else '')}."
    )
