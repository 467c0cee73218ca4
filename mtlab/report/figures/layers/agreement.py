"""Correlation between seeds of the levels that they draw on, against a permutation baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, Modality
from mtlab.report.figures import dots, panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun

SHUFFLES = 1000
LEVEL = 0.95  #: share of the means by chance within the grey bar


@dataclass(frozen=True)
class Agreement:
    """The correlation between the seeds of one variant, in one modality."""

    variant: str
    modality: Modality
    seeds: int
    pairs: tuple[float, ...]  #: correlation of each pair of seeds
    mean: float | None
    chance: tuple[float, float] | None  #: range of the mean by chance
    note: str | None = None


def seed_agreements(
    found: Mapping[StudyRun, Layers], start: Mapping[StudyRun, Layers] | None = None, kind: Kind = "contributions"
) -> list[Agreement]:
    """Correlate the patterns of each variant's seeds, pair by pair.

    A pattern is the part of each level less the mean of its cross-modal layer, over all levels and layers. Chance: the
    levels of each seed and layer in a random order. A level of which no seed takes anything at a layer, as those that a
    bridge does not read there, is no part of the pattern: seeds have not chosen it.

    Args:
        found: the runs' best checkpoints; with `start`, the last step of the trace (`recordings.before_and_after`).
        start: the same examples before training. Given it, changes by training are correlated: seeds that start alike
            agree before they have learned anything.
        kind: contributions or weights.

    """
    constant = "the levels are all alike" if start is None else "training does not change its levels' parts"
    made = []
    for variant in panels.variant_labels(found):
        runs = panels.runs_of(found, variant)
        for modality in MODALITIES:
            each = _agreement(variant, modality, _patterns(runs, start, kind, modality), constant)
            few = each.mean is None and len(runs) > 1 and each.seeds == 0
            made.append(replace(each, note=f"no {kind} of several levels") if few else each)
    return made


def plot_agreement(
    found: Mapping[StudyRun, Layers],
    start: Mapping[StudyRun, Layers] | None = None,
    styles: Mapping[str, Style] | None = None,
    kind: Kind = "contributions",
) -> go.Figure:
    """Plot each variant's mean correlation between seeds, each pair as a dot, and the range by chance."""
    title = "Is the pattern real? Agreement between seeds on which levels to use"
    agreements = seed_agreements(found, start, kind)
    computed = [each for each in agreements if each.mean is not None]
    if not computed:
        several = max((len(panels.runs_of(found, name)) for name in panels.variant_labels(found)), default=0) > 1
        why = panels.explain_missing(found, kind) if several else "Agreement needs two seeds of a variant at least."
        return theme.empty(title, why)
    names = list(dict.fromkeys(each.variant for each in computed))
    modalities = panels.recorded_modalities(found.values())
    figure = panels.make_panels([""], modalities, x="correlation between seeds")
    for column, modality in enumerate(modalities, 1):
        for each in (each for each in computed if each.modality == modality):
            style = theme.find_style(styles, each.variant, names)
            figure.add_traces(_traces(each, style), rows=1, cols=column)
    for name, symbol, size in (
        ("chance", "square", 12),
        ("a pair of seeds", "circle", 6),
        ("their mean", "diamond", 11),
    ):
        figure.add_trace(panels.legend_entry(name, theme.NEUTRAL, symbol, size), row=1, col=1)
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=[theme.axis_label(name) for name in names][::-1]
    )
    figure.update_xaxes(range=[-1.05, 1.05])
    changed = " of what training changed until its last step" if start is not None else ""
    caption = (
        f"Correlation between two seeds' {panels.KINDS[kind]}s{changed}, over all levels and layers, "
        f"less each layer's mean. Dots: pairs of seeds; diamond: their mean; bar: where {LEVEL:.0%} of means lie when "
        f"each seed's levels are shuffled ({SHUFFLES:,} times). "
        f"{panels.describe_seeds(found)}; {panels.describe_averaging([*found.values(), *(start or {}).values()])}."
        f"{panels.explain_removal(found, kind)}{_describe_absent(agreements)}"
    )
    return theme.finish(figure, title, caption, height=160 + dots.lines_height(names, 34))


def _describe_absent(agreements: Sequence[Agreement]) -> str:
    """Return a sentence on the variants that the figure cannot show, and why; empty without any."""
    shown = {each.variant for each in agreements if each.mean is not None}
    absent = {each.variant: each.note for each in agreements if each.variant not in shown}
    listed = "; ".join(f"{variant} ({note})" for variant, note in absent.items())
    return f" Not shown: {listed}." if listed else ""


def _traces(each: Agreement, style: Style) -> list[go.Scatter]:
    low, high = each.chance or (0.0, 0.0)
    return [
        go.Scatter(
            x=[low, high],
            y=[theme.axis_label(each.variant)] * 2,
            mode="lines",
            line={"color": theme.with_opacity(theme.NEUTRAL, 0.35), "width": 12},
            name="chance",
            showlegend=False,
            hovertemplate="chance: %{x:.2f}<extra></extra>",
        ),
        go.Scatter(
            x=list(each.pairs),
            y=[theme.axis_label(each.variant)] * len(each.pairs),
            mode="markers",
            marker={"color": style.colour, "size": 6, "opacity": 0.55},
            name="two seeds",
            showlegend=False,
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        ),
        go.Scatter(
            x=[each.mean],
            y=[theme.axis_label(each.variant)],
            mode="markers",
            marker={"color": style.colour, "size": 12, "symbol": "diamond"},
            name="mean of pairs of seeds",
            showlegend=False,
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        ),
    ]


def _patterns(
    runs: Mapping[StudyRun, Layers], start: Mapping[StudyRun, Layers] | None, kind: Kind, modality: Modality
) -> list[list[Array]]:
    """Return the layers of each seed, [N] each, less those before training if these are given."""
    depths = panels.recorded_depths(runs.values(), kind)
    known = [*runs.values(), *(layers for source, layers in (start or {}).items() if source in runs)]
    used = {depth: _used_levels(known, kind, modality, depth) for depth in depths}
    patterns = []
    for source, layers in runs.items():
        before = None if start is None else start.get(source)
        if start is not None and before is None:
            continue
        rows = []
        for depth in depths:
            own = layers.experts(kind, modality, depth)
            first = None if before is None else before.experts(kind, modality, depth)
            if own is None or (before is not None and (first is None or first.shape != own.shape)):
                continue
            row = own.astype(float) - (0 if first is None else first)
            taken = used[depth]
            row = row[np.isfinite(row) if taken is None else np.isfinite(row) & taken]  # levels that are offered
            if len(row) > 1:
                rows.append(row)
        if rows:
            patterns.append(rows)
    return patterns


def _used_levels(found: Sequence[Layers], kind: Kind, modality: Modality, depth: int) -> Array | None:
    """Return which levels any run takes something of, [N]; None where runs are offered other numbers of levels."""
    rows = [row for layers in found if (row := layers.experts(kind, modality, depth)) is not None]
    if len({row.shape for row in rows}) != 1:
        return None
    used: Array = (np.nan_to_num(np.stack(rows)) != 0).any(0)
    return used


def _agreement(variant: str, modality: Modality, patterns: list[list[Array]], constant: str) -> Agreement:
    shapes = {tuple(len(row) for row in seed) for seed in patterns}
    if len(patterns) < 2 or len(shapes) > 1:
        return Agreement(variant, modality, len(patterns), (), None, None, "fewer than two seeds")
    rows = [np.stack(layer) for layer in zip(*patterns, strict=True)]  # of each layer, [seeds, N]
    centred = [row - row.mean(1, keepdims=True) for row in rows]
    flat = np.concatenate(centred, axis=1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    if (norms < 1e-9).any():
        return Agreement(variant, modality, len(patterns), (), None, None, constant)
    unit = flat / norms
    pairs = tuple(float(unit[one] @ unit[other]) for one, other in combinations(range(len(unit)), 2))
    generator = np.random.default_rng(0)
    shuffled = [generator.permuted(np.repeat(row[None], SHUFFLES, axis=0), axis=2) for row in centred]
    by_chance = _mean_correlation(np.concatenate(shuffled, axis=2) / norms)
    outside = (1 - LEVEL) / 2
    low, high = np.quantile(by_chance, [outside, 1 - outside])
    return Agreement(variant, modality, len(patterns), pairs, float(np.mean(pairs)), (float(low), float(high)))


def _mean_correlation(unit: Array) -> Array:
    """Average the products of all pairs of unit rows, [shuffles, seeds, numbers] → [shuffles]."""
    seeds = unit.shape[1]
    whole: Array = np.square(unit.sum(1)).sum(1)  # every pair twice, and each row with itself
    mean: Array = (whole - seeds) / (seeds * (seeds - 1))
    return mean
