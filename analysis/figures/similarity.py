"""How alike the outputs of consecutive managers are: cosine, and CKA, which no rotation changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import plotly.graph_objects as go

from mtlab.analysis import theme
from mtlab.analysis.figures import parts
from mtlab.analysis.gathered import Source
from mtlab.analysis.recorded import MODALITIES, Layers

Measure = Literal["cka", "cosine"]
_NAMES: Mapping[Measure, str] = {"cka": "CKA", "cosine": "cosine similarity"}


def similarity(found: Mapping[Source, Layers], measure: Measure = "cka") -> go.Figure:
    """Draw, for each variant and modality, the similarity of every pair of managers' outputs: means over seeds."""
    title = f"How alike the managers' outputs are from layer to layer: {_NAMES[measure]}"
    means = {
        (variant, modality): values.mean(0)
        for variant in parts.variants(found)
        for modality in MODALITIES
        if (
            values := parts.stacked(
                each.values.get(f"{measure}/{modality}") for each in parts.of(found, variant).values()
            )
        )
        is not None
    }
    names = [name for name in parts.variants(found) if any(variant == name for variant, _ in means)]
    if not names:
        return theme.empty(title, "No finished run has recorded how alike its layers are.")
    figure = parts.panels(list(MODALITIES), names, shared_y=False)
    for row, modality in enumerate(MODALITIES, 1):
        for column, variant in enumerate(names, 1):
            if (variant, modality) not in means:
                continue
            values = means[variant, modality]
            places = [str(place + 1) for place in range(len(values))]
            figure.add_trace(
                go.Heatmap(
                    x=places,
                    y=places,
                    z=values.tolist(),
                    zmin=0,
                    zmax=1,
                    showscale=row == column == 1,
                    texttemplate="%{z:.2f}" if len(values) <= 4 else None,
                    hovertemplate="layers %{x} and %{y}: %{z:.3f}<extra></extra>",
                ),
                row=row,
                col=column,
            )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="cross-modal layer", row=2)
    caption = (
        f"{_NAMES[measure]} between the outputs of the managers of two cross-modal layers; 1: the same. "
        f"Means over seeds; {parts.seeds(found)}; {parts.averaged(found.values())}."
    )
    return theme.finish(figure, title, caption, height=440)
