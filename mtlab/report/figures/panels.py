"""What several figures are made of: panels of modalities and layers, lines with a band over seeds, words for n."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, TrainingTrace
from mtlab.report.figures import theme
from mtlab.report.figures.theme import Style, with_opacity
from mtlab.report.recordings import StudyRun

T = TypeVar("T")

MAX_LINES = 8  #: lines that one panel can hold
KINDS: Mapping[Kind, str] = {"contributions": "contribution", "weights": "weight"}
KIND_MEANINGS: Mapping[Kind, str] = {
    "contributions": "Contribution: share of what a manager hands on that comes from this level, by norm",
    "weights": "Weight: as the manager learned it; says less than the contribution, as scales act too",
}


def variant_labels(sources: Iterable[StudyRun]) -> list[str]:
    """Name the variants once each, in order."""
    return list(dict.fromkeys(source.label for source in sources))


def runs_of(found: Mapping[StudyRun, T], variant: str) -> dict[StudyRun, T]:
    """Take the runs of one variant."""
    return {source: value for source, value in found.items() if source.label == variant}


def describe_seeds(sources: Collection[StudyRun]) -> str:
    """Say how many seeds each variant has.

    >>> seeds([Source("a", 0, "x/s0"), Source("a", 1, "x/s1"), Source("b", 0, "y/s0")])
    'n = 1 to 2 seeds a variant'
    """
    counts = [sum(source.label == variant for source in sources) for variant in variant_labels(sources)]
    if not counts:
        return "n = 0 seeds"
    low, high = min(counts), max(counts)
    each = " a variant" if len(counts) > 1 else ""
    return f"n = {low}{f' to {high}' if high > low else ''} seed{'s' if high > 1 else ''}{each}"


def describe_averaging(layers: Iterable[Layers]) -> str:
    """Say over what recorded numbers are averaged."""
    counts = sorted({each.examples for each in layers if each.examples is not None})
    if not counts:
        return "averaged over validation examples and their real tokens"
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"averaged over {number} validation examples and their real tokens"


def shared_steps(traces: Iterable[TrainingTrace]) -> list[int]:
    """List the steps that all of some runs recorded: those that stopped early have another last one."""
    steps = [set(trace.steps) for trace in traces]
    return sorted(set.intersection(*steps)) if steps else []


def recorded_depths(found: Iterable[Layers], name: str) -> list[int]:
    """List the cross-modal layers of which something is recorded in any run and modality, from 0."""
    return sorted({depth for each in found for modality in MODALITIES for depth in each.depths(name, modality)})


def stack_runs(rows: Iterable[Array | None]) -> Array | None:
    """Stack the runs that have something of one size, [runs, …]; None without any."""
    there = [row for row in rows if row is not None]
    if not there:
        return None
    return np.stack([row for row in there if row.shape == there[0].shape]).astype(float)


def make_panels(
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    x: str = "",
    y: str = "",
    shared_y: bool | str = "all",
    shared_x: bool | str = False,
) -> go.Figure:
    """Make a grid of panels with titles above the columns and names of the rows at their left."""
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
    """Draw the mean over runs, [runs, len(x)], and a band from the lowest to the highest of them.

    Args:
        x: where the values stand.
        runs: the values.
        variant: the name of the line.
        style: how it is drawn.
        legend: does this panel put it into the legend?
        hover: what is told of a point.
        rank: of its place in the legend.

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


def legend_entry(name: str, colour: str, symbol: str, size: int = 10) -> go.Scatter:
    """Make an entry of the legend that belongs to no single trace."""
    marker = {"color": colour, "symbol": symbol, "size": size}
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)


def hide_beyond_limit(figure: go.Figure, names: Sequence[str]) -> str:
    """Show the first variants of many, the others once they are chosen in the legend; say so."""
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
    """Draw a heatmap, [rows, columns]: from 0 to 1, or on the shared axis of colours that diverges at 0.

    Numbers stand in the cells where there is room for them.
    """
    roomy = len(columns) <= 8
    scale = {"coloraxis": "coloraxis"} if diverging else {"zmin": 0, "zmax": 1, "showscale": bar}
    shown = {"text": text, "texttemplate": "%{text}"} if text is not None else {"texttemplate": "%{z:.2f}"}
    return go.Heatmap(
        x=list(columns),
        y=list(rows),
        z=values.tolist(),
        hovertemplate=hover,
        **scale,
        **(shown if roomy else {"text": text}),
    )


def layer_names(found: Sequence[int]) -> list[str]:
    """Name cross-modal layers for people, from 1."""
    return [f"layer {depth + 1}" for depth in found]


def explain_missing(found: Collection[StudyRun], kind: Kind) -> str:
    """Say why there is nothing to draw."""
    if not found:
        return "No finished run has recorded it. `record.layers: true` (the default) records it in runs to come."
    return f"None of these managers has {kind}: {', '.join(variant_labels(found))}."


def list_without(silent: Sequence[str], kind: Kind) -> str:
    """Name the variants that a figure cannot show."""
    return f" Without {kind}: {', '.join(silent)}." if silent else ""
