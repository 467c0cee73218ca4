"""Plots which levels the families of questions draw on: do managers choose by what is asked?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Modality, Tokens
from mtlab.report.figures import panels, theme
from mtlab.report.recordings import StudyRun
from mtlab.units import format_span


def plot_levels_by_family(found: Mapping[StudyRun, Tokens], variant: str, kind: Kind = "contributions") -> go.Figure:
    """Plot the part of each level by family of questions, a panel per cross-modal layer, for one variant.

    Lines that lie on each other: what is asked makes no difference to what is read.

    Args:
        found: what each run recorded for every token of some examples, evenly over the families.
        variant: the label of the variant.
        kind: contributions or weights.

    """
    title = f"{variant}: {panels.KINDS[kind]} of each level by family of questions"
    runs = panels.runs_of(found, variant)
    names = families(runs)
    places = [
        (modality, depth)
        for modality in MODALITIES
        for depth in sorted({depth for each in runs.values() for depth in each.depths(kind, modality)})
    ]
    if len(names) < 2 or not places:
        why = "Its runs recorded no tokens of two families of questions, or its managers have nothing to show."
        return theme.empty(title, why)
    rows = [modality for modality in MODALITIES if modality in {place[0] for place in places}]
    columns = sorted({depth for _, depth in places})
    first = min(each.first_layer for each in runs.values())
    figure = panels.make_panels(rows, panels.layer_names(columns, first), x="level", y=panels.KINDS[kind])

    def bands() -> list[panels.VariantValues]:
        drawn: list[panels.VariantValues] = []
        for modality, depth in places:
            parts = [family_levels(each, kind, modality, depth) for each in runs.values()]
            offered = max(len(values) for part in parts for values in part.values())
            levels = next(iter(runs.values())).experts_levels(modality, offered)
            at = rows.index(modality) + 1, columns.index(depth) + 1
            for name in names:
                values = panels.stack_runs(part.get(name) for part in parts)
                shown = (levels, None) if values is None else panels.select_offered(levels, values)
                drawn.append((*at, name, *shown))
        return drawn

    panels.add_bands(figure, names, None, bands())
    figure.update_xaxes(dtick=1, tickformat="d")
    figure.update_yaxes(rangemode="tozero", zeroline=kind == "weights")
    counts = [sum(each.family == name for each in run.examples) for run in runs.values() for name in names]
    caption = (
        f"{panels.KIND_MEANINGS[kind]}. {panels.describe_means(list(runs))}; averaged over {format_span(counts)} "
        "validation examples of each family and their real tokens. The previous states' part is left out."
        f"{panels.explain_removal(runs, kind)}"
    )
    return theme.finish(figure, title, caption, height=430)


def families(found: Mapping[StudyRun, Tokens]) -> list[str]:
    """List the families of the recorded examples."""
    return sorted({example.family for each in found.values() for example in each.examples if example.family})


def family_levels(tokens: Tokens, kind: Kind, modality: Modality, depth: int) -> dict[str, Array]:
    """Average the levels' parts over the real tokens of each example, then over those of a family: family → [N]."""
    by_family: dict[str, list[Array]] = {}
    for place, example in enumerate(tokens.examples):
        rows = tokens.rows(kind, modality, depth, place)
        if rows is not None and example.family:
            offered = len(tokens.experts_levels(modality, len(rows)))
            by_family.setdefault(example.family, []).append(rows[:offered].astype(float).mean(1))
    return {family: cast("Array", np.mean(each, axis=0)) for family, each in sorted(by_family.items())}
