"""Parts that figures share: panels, lines with a band over seeds, heatmaps, and phrases of captions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, Modality, Tokens, TrainingTrace
from mtlab.report.figures import theme
from mtlab.report.figures.theme import Style, with_opacity
from mtlab.report.recordings import StudyRun
from mtlab.units import format_span

T = TypeVar("T")
Recorded = TypeVar("Recorded", Layers, Tokens)

MAX_LINES = 8  #: shown in one panel at first
PREVIOUS_COLUMN = "prev."  #: previous states, on axes
KINDS: Mapping[Kind, str] = {"contributions": "contribution", "weights": "weight"}
KIND_MENU: Mapping[Kind, str] = {"contributions": "contributions", "weights": "raw weights"}
KIND_MEANINGS: Mapping[Kind, str] = {
    "contributions": "Contribution: share of what a manager hands on, by norm; levels and previous state sum to one",
    "weights": "Weight: as the manager uses it; says less than the contribution, as scales act too",
}


REMOVAL = "The output is no sum: a share of how far it moves without each state."


def explain_kind(kind: Kind, *, by_removal: bool = False) -> str:
    """Say what is shown, and how it was measured where a manager's output is no sum."""
    if kind == "contributions" and by_removal:
        return f"{KIND_MEANINGS[kind]}. {REMOVAL}"
    return f"{KIND_MEANINGS[kind]}."


def explain_removal(found: Mapping[StudyRun, Recorded], kind: Kind) -> str:
    """Name the variants whose contributions were measured by removal; empty without any."""
    names = [
        name
        for name in variant_labels(found)
        if any(each.depths("by_removal", modality) for each in runs_of(found, name).values() for modality in MODALITIES)
    ]
    if kind != "contributions" or not names:
        return ""
    return f" No sum, so by removal of each state: {', '.join(names)}."


def variant_labels(runs: Iterable[StudyRun]) -> list[str]:
    """Return the labels of the variants, in order."""
    return list(dict.fromkeys(run.label for run in runs))


def runs_of(found: Mapping[StudyRun, T], variant: str) -> dict[StudyRun, T]:
    """Return the recordings of one variant."""
    return {run: value for run, value in found.items() if run.label == variant}


def describe_seeds(runs: Collection[StudyRun]) -> str:
    """Say how many seeds each variant has.

    >>> describe_seeds([StudyRun("a", 0, "x/s0"), StudyRun("a", 1, "x/s1"), StudyRun("b", 0, "y/s0")])
    'n = 1 to 2 seeds a variant'
    """
    counts = [sum(run.label == variant for run in runs) for variant in variant_labels(runs)]
    return f"n = {format_span(counts or [0], 'seed')}{' a variant' if len(counts) > 1 else ''}"


def describe_averaging(layers: Iterable[Layers]) -> str:
    """Say over how many examples recorded numbers are averaged."""
    counts = sorted({each.examples for each in layers if each.examples is not None})
    if not counts:
        return "averaged over validation examples and their real tokens"
    return f"averaged over {format_span(counts)} validation examples and their real tokens"


def describe_means(runs: Collection[StudyRun], spread: str = "band: lowest to highest seed") -> str:
    """Say that means over seeds are shown, and of how many; where no variant has two seeds, say that instead.

    >>> describe_means([StudyRun("a", 0, "x/s0"), StudyRun("a", 1, "x/s1")])
    'Mean over seeds, band: lowest to highest seed; n = 2 seeds'
    >>> describe_means([StudyRun("a", 0, "x/s0")])
    'One run'
    """
    if len(runs) == 1:
        return "One run"
    if len(variant_labels(runs)) == len(runs):
        return "One run of each variant"
    return f"Mean over seeds{f', {spread}' if spread else ''}; {describe_seeds(runs)}"


def describe_sample(layers: Mapping[StudyRun, Layers], spread: str = "band: lowest to highest seed") -> str:
    """Say what is averaged: over seeds as `describe_means`, and over how many examples."""
    return f"{describe_means(layers, spread)}; {describe_averaging(layers.values())}"


def shared_steps(traces: Iterable[TrainingTrace]) -> list[int]:
    """Return the steps that all runs recorded: runs that stopped early have another last step."""
    steps = [set(trace.steps) for trace in traces]
    return sorted(set.intersection(*steps)) if steps else []


def recorded_depths(found: Iterable[Layers], name: str) -> list[int]:
    """Return the cross-modal layers with a recording in any run and modality, from 0."""
    return sorted({depth for each in found for modality in MODALITIES for depth in each.depths(name, modality)})


def stack_runs(rows: Iterable[Array | None]) -> Array | None:
    """Stack the arrays of runs that have the shape of the first, [runs, …]; None without any."""
    arrays = [row for row in rows if row is not None]
    if not arrays:
        return None
    return np.stack([array for array in arrays if array.shape == arrays[0].shape]).astype(float)


def find_offered(values: Array) -> Array:
    """Return which levels all runs' managers are offered, bool [N]; the others are no number in values [..., N]."""
    return np.asarray(~np.isnan(values).any(axis=tuple(range(values.ndim - 1))))


def select_offered(levels: Sequence[int], values: Array) -> tuple[list[int], Array]:
    """Leave out the levels [N] that some run's managers are not offered, and their values [runs, N]."""
    offered = find_offered(values)
    return [level for level, kept in zip(levels, offered, strict=True) if kept], values[:, offered]


def make_panels(
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    x: str = "",
    y: str = "",
    shared_y: bool | str = "all",
    shared_x: bool | str = False,
) -> go.Figure:
    """Make a grid of panels with column titles above and row names on the left."""
    gap = {"horizontal_spacing": 0.16 / max(4, len(columns)), "vertical_spacing": 0.22 / max(2, len(rows))}
    figure = make_subplots(
        len(rows),
        len(columns),
        column_titles=[theme.escape_markup(name) for name in columns],
        shared_yaxes=shared_y,
        shared_xaxes=shared_x,
        **gap,
    )
    for place, name in enumerate(rows, 1):
        label = ": ".join(word for word in (name, y) if word)
        figure.update_yaxes(title_text=theme.escape_markup(label), row=place, col=1)
    figure.update_xaxes(title_text=theme.escape_markup(x), row=len(rows))
    figure.update_annotations(font_size=12)
    return figure


def band_traces(
    x: Sequence[float] | Sequence[str],
    runs: Array,
    variant: str,
    style: Style,
    *,
    legend: bool,
    hover: str = "%{y:.3f}",
    rank: int = 0,
) -> list[go.Scatter]:
    """Draw the mean over runs as a line, and a band from the lowest to the highest run.

    Args:
        x: positions of the values.
        runs: the values, [runs, len(x)].
        variant: the name of the line.
        style: of the line.
        legend: add the line to the legend.
        hover: template of a point's tooltip.
        rank: place in the legend.

    """
    with np.errstate(invalid="ignore"):
        middle, low, high = runs.mean(0), runs.min(0), runs.max(0)
    drawn = []
    if len(runs) > 1:
        drawn.append(
            go.Scatter(
                x=[*x, *reversed(list(x))],
                y=[*high.tolist(), *low[::-1].tolist()],
                mode="lines",
                fill="toself",
                fillcolor=with_opacity(style.colour),
                line={"width": 0},
                hoverinfo="skip",
                legendgroup=variant,
                showlegend=False,
            )
        )
    drawn.append(
        go.Scatter(
            x=list(x),
            y=middle.tolist(),
            name=theme.escape_markup(variant),
            mode="lines+markers" if len(x) < 30 else "lines",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"symbol": style.symbol, "size": 6},
            legendgroup=variant,
            legendrank=1000 + rank,
            showlegend=legend,
            hovertemplate=f"%{{fullData.name}}: {hover}<extra></extra>",
        )
    )
    return drawn


LayerMeasure = Callable[[Layers, Modality, int], float | None]
VariantValues = tuple[int, int, str, Sequence[float] | Sequence[str], Array | None]


def add_bands(
    figure: go.Figure, names: Sequence[str], styles: Mapping[str, Style] | None, values: Iterable[VariantValues]
) -> list[str]:
    """Draw the band of each variant in each panel, where there are values; return the variants drawn.

    Args:
        figure: its panels.
        names: of all variants.
        styles: of the study's variants.
        values: row and column of a panel from 1, variant, positions on x, and values [runs, len(x)].

    """
    drawn: dict[str, None] = {}
    for row, column, variant, x, runs in values:
        if runs is not None:
            style = theme.find_style(styles, variant, names)
            figure.add_traces(band_traces(x, runs, variant, style, legend=variant not in drawn), rows=row, cols=column)
            drawn[variant] = None
    return list(drawn)


def layer_bands(
    found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None, key: str, measure: LayerMeasure, y: str
) -> tuple[go.Figure, list[str]]:
    """Draw a number of each manager by cross-modal layer, a panel per modality; return it and the variants drawn.

    Args:
        found: what was recorded.
        styles: of the study's variants.
        key: by which layers are found, see `recorded_depths`.
        measure: the number of a manager, from what was recorded, its modality and its layer.
        y: title of its axis.

    """
    names, depths = variant_labels(found), recorded_depths(found.values(), key)
    modalities, first = recorded_modalities(found.values()), first_layer(found.values())
    figure = make_panels([""], modalities, x=layer_word(found.values()), y=y)

    def bands() -> Iterator[VariantValues]:
        for column, modality in enumerate(modalities, 1):
            for variant in names:
                runs = runs_of(found, variant).values()
                rows = [[measure(layers, modality, depth) for depth in depths] for layers in runs]
                values = np.array(rows, dtype=float).reshape(len(rows), len(depths))
                values = values[np.isfinite(values).any(1)] if values.size else values
                yield 1, column, variant, [depth + first for depth in depths], values if values.size else None

    shown = add_bands(figure, names, styles, bands())
    figure.update_xaxes(dtick=1, tickformat="d")
    return figure, shown


def legend_entry(name: str, colour: str, symbol: str, size: int = 10) -> go.Scatter:
    """Make an entry of the legend without a trace of its own."""
    marker = {"color": colour, "symbol": symbol, "size": size}
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)


def hide_beyond_limit(figure: go.Figure, names: Sequence[str]) -> str:
    """Show `MAX_LINES` of the variants that are drawn, others on a click; return a sentence for the caption."""
    drawn = {trace.legendgroup for trace in figure.data}
    names = [name for name in names if name in drawn]
    if len(names) <= MAX_LINES:
        return ""
    for trace in figure.data:
        if trace.legendgroup in names[MAX_LINES:]:
            trace.visible = "legendonly"
    return f" Shown: {MAX_LINES} of {len(names)} variants; a click on the legend shows others."


def heatmap_trace(
    columns: Sequence[str],
    rows: Sequence[str],
    values: Array,
    *,
    hover: str,
    text: Sequence[Sequence[str]] | None = None,
    bar: bool = False,
    diverging: bool = False,
) -> go.Heatmap:
    """Draw a heatmap of values [rows, columns], from 0 to 1 or on the shared colour axis that diverges at 0.

    Cells hold their numbers where there is room.
    """
    roomy = len(columns) <= 9
    scale = {"coloraxis": "coloraxis"} if diverging else {"zmin": 0, "zmax": 1, "showscale": bar}
    shown = {"text": text, "texttemplate": "%{text}"} if text is not None else {"texttemplate": "%{z:.2f}"}
    return go.Heatmap(
        x=list(columns),
        y=list(rows),
        z=[[None if np.isnan(value) else value for value in row] for row in values.tolist()],
        hovertemplate=hover,
        **scale,
        **(shown if roomy else {"text": text}),
    )


def recorded_modalities(found: Iterable[Layers]) -> list[Modality]:
    """Return the modalities whose managers recorded something in any run; both where none did."""
    keys = {key.split("/")[1] for each in found for key in each.values if key.count("/") >= 2}
    return [modality for modality in MODALITIES if modality in keys] or list(MODALITIES)


def first_layer(found: Iterable[Layers]) -> int:
    """Return how a user counts the layer at depth 0 of these runs."""
    return min((each.first_layer for each in found), default=1)


def layer_word(found: Iterable[Layers]) -> str:
    """Return what the layers of these runs are called, on axes."""
    return "cross-modal layer" if first_layer(found) else "layer of the language model"


def layer_names(found: Sequence[int], first: int = 1) -> list[str]:
    """Name layers by their numbers; `first` is that of depth 0."""
    return [f"layer {depth + first}" for depth in found]


def explain_missing(found: Collection[StudyRun], kind: Kind) -> str:
    """Say why there is nothing to draw."""
    if not found:
        return "No finished run has recorded it. `record.layers: true` (the default) records it in runs to come."
    return f"None of these managers has {kind}: {', '.join(variant_labels(found))}."


def list_without(silent: Sequence[str], what: str) -> str:
    """Return a sentence on variants that a figure cannot show for want of something; empty without any."""
    return f" Without {what}: {', '.join(silent)}." if silent else ""
