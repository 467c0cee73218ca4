"""Plots the levels that managers draw on: as lines, a panel per cross-modal layer and modality, or as heatmaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, Modality
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun

MAX_TICKS = 8  #: levels named below a panel


def plot_aggregation(
    found: Mapping[StudyRun, Layers], styles: Mapping[str, Style] | None = None, kind: Kind = "contributions"
) -> go.Figure:
    """Plot the mean over seeds and a band from the lowest to the highest seed; rows: text, image; x: level.

    The previous states, together, stand at the right on a grey ground.
    """
    title = f"Which layers the managers draw on: {panels.KINDS[kind]} of each level"
    depths, names = panels.recorded_depths(found.values(), kind), panels.variant_labels(found)
    if not depths:
        return theme.empty(title, panels.explain_missing(found, kind))
    modalities, layers = panels.recorded_modalities(found.values()), _names(depths, found.values())
    figure = panels.make_panels(modalities, layers, x="level", y=panels.KINDS[kind], shared_y="all", shared_x=False)
    shown: dict[str, None] = {}
    for row, modality in enumerate(modalities, 1):
        offered = sorted({level for each in found.values() for level in each.levels.get(modality, ())})
        for column, depth in enumerate(depths, 1):
            for variant in names:
                runs = list(panels.runs_of(found, variant).values())
                values = panels.stack_runs(each.experts(kind, modality, depth) for each in runs)
                if values is None:
                    continue
                style = theme.find_style(styles, variant, names)
                every = runs[0].experts_levels(modality, values.shape[1])
                levels, parts = panels.select_offered(every, values)
                drawn = panels.band_traces(levels, parts, variant, style, legend=variant not in shown)
                spread = _dimensions(runs, kind, modality, depth)
                if spread is not None:
                    drawn[-1].error_y = {
                        "array": spread[: len(every)][panels.find_offered(values)].tolist(),
                        "width": 0,
                        "thickness": 1,
                    }
                shown[variant] = None
                offered = offered or list(every)
                below = [part for each in runs if (part := each.previous(kind, modality, depth)) is not None]
                if below:
                    at = offered[-1] + _strip(offered) * (1 + 0.5 * (names.index(variant) + 0.5) / len(names))
                    drawn.append(_previous_trace(at, below, variant, style))
                figure.add_traces(drawn, rows=row, cols=column)
            has_previous = any(each.previous(kind, modality, depth) is not None for each in found.values())
            if has_previous:
                ground = {"fillcolor": theme.NEUTRAL, "opacity": 0.16, "line_width": 0, "layer": "below"}
                ends = (offered[-1] + part * _strip(offered) for part in (0.75, 1.75))
                figure.add_vrect(*ends, row=row, col=column, **ground)
            figure.update_xaxes(**_ticks(offered, previous=has_previous), row=row, col=column)
    figure.update_yaxes(rangemode="tozero", zeroline=kind == "weights")
    missing = [name for name in names if name not in shown]
    spread_note = " Thin lines: standard deviation over dimensions." if _any_dimensions(found, kind) else ""
    caption = (
        f"{panels.KIND_MEANINGS[kind]}. On grey: the previous states, together. "
        f"{panels.describe_sample(found)}.{spread_note}{panels.explain_removal(found, kind)}"
        f"{panels.list_without(missing, kind)}{panels.hide_beyond_limit(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=430)


def plot_heatmaps(found: Mapping[StudyRun, Layers], kind: Kind = "contributions") -> go.Figure:
    """Plot a pair of heatmaps, text and image, for each variant: means over seeds, the previous states last.

    Weights may be negative: they are on a scale that diverges at 0, with their spread over dimensions.
    """
    title = f"{panels.KINDS[kind].capitalize()} of each level in numbers, variant by variant"
    names = [name for name in panels.variant_labels(found) if _any(panels.runs_of(found, name), kind)]
    if not names:
        return theme.empty(title, panels.explain_missing(found, kind))
    modalities = panels.recorded_modalities(found.values())
    figure = panels.make_panels(names, modalities, x="level", shared_y="rows")
    largest, lines = 0.0, 1
    for row, variant in enumerate(names, 1):
        for column, modality in enumerate(modalities, 1):
            runs = panels.runs_of(found, variant)
            made = level_matrix(runs, kind, modality)
            if made is None:
                continue
            largest = max(largest, float(np.nanmax(np.abs(made.values))))
            lines = max(lines, 1 if made.spreads is None else 2)
            drawn = panels.heatmap_trace(
                made.columns,
                _names(made.depths, runs.values()),
                made.values,
                text=made.texts,
                hover="%{x}, %{y}: %{text}<extra></extra>",
                bar=row == column == 1,
                diverging=kind == "weights",
            )
            figure.add_trace(drawn, row=row, col=column)
    figure.update_xaxes(type="category")
    figure.update_layout(coloraxis={"cmin": -largest, "cmax": largest})
    spread_note = " ±: standard deviation over dimensions." if lines > 1 else ""
    caption = (
        f"{panels.KIND_MEANINGS[kind]}. {panels.PREVIOUS_COLUMN}: the previous states, together. "
        f"{panels.describe_sample(found, spread='')}.{spread_note}{panels.explain_removal(found, kind)}"
    )
    depth = max(len(panels.recorded_depths(panels.runs_of(found, name).values(), kind)) for name in names)
    return theme.finish(figure, title, caption, height=90 + len(names) * (60 + (14 + 14 * lines) * depth))


@dataclass(frozen=True)
class LevelMatrix:
    """Means of one variant's runs for one modality; levels first, then the previous states, if there are any."""

    levels: tuple[int, ...]  #: [N]
    depths: list[int]  #: of cross-modal layers, [K]
    values: Array  #: [K, N] or [K, N + 1]; not a number where there is nothing
    spreads: Array | None = None  #: over dimensions, as `values`; None where weights are the same for all

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        names = [str(level) for level in self.levels]
        return names if self.values.shape[1] == len(names) else [*names, panels.PREVIOUS_COLUMN]

    @property
    def texts(self) -> list[list[str]]:
        """Each number in words, with its spread."""
        return [
            [
                "" if np.isnan(value) else f"{value:z.2f}".replace("-", "−") + _spread(self.spreads, row, column)
                for column, value in enumerate(values)
            ]
            for row, values in enumerate(self.values)
        ]


def level_matrix(runs: Mapping[StudyRun, Layers], kind: Kind, modality: Modality) -> LevelMatrix | None:
    """Average the runs of one variant; None where nothing is recorded."""
    rows, spreads, depths = [], [], []
    levels: tuple[int, ...] = ()
    for depth in panels.recorded_depths(runs.values(), kind):
        experts = _mean(each.experts(kind, modality, depth) for each in runs.values())
        if experts is None:
            continue
        levels = next(iter(runs.values())).experts_levels(modality, len(experts))  # those of all runs are alike
        below = [found for each in runs.values() if (found := each.previous(kind, modality, depth)) is not None]
        row = np.append(experts, np.mean(below)) if below else experts
        spread = _dimensions(list(runs.values()), kind, modality, depth)
        depths.append(depth)
        rows.append(row)
        spreads.append(np.zeros(len(row)) if spread is None else np.pad(spread, (0, len(row) - len(spread))))
    if not rows:
        return None
    values = pad_rows(rows)
    return LevelMatrix(levels, depths, values, pad_rows(spreads) if np.any(np.concatenate(spreads)) else None)


def _dimensions(runs: Sequence[Layers], kind: Kind, modality: Modality, depth: int) -> Array | None:
    """Return the spread of weights over dimensions, [N] or [N + 1]; None where they are the same for all.

    Of runs with and without previous states, those of the latter have no part in the last one.
    """
    if kind != "weights":
        return None
    levels, previous = [], []
    for each in runs:
        rows, weights = each.rows("weights", modality, depth, "dimensions"), each.rows("weights", modality, depth)
        if rows is not None and weights is not None:
            offered = each.offered(modality, weights)
            levels.append(rows[:offered])
            if len(rows) > offered:
                previous.append(rows[offered:].mean())
    spread = _mean(levels)
    return np.append(spread, np.mean(previous)) if spread is not None and previous else spread


def _any_dimensions(found: Mapping[StudyRun, Layers], kind: Kind) -> bool:
    return kind == "weights" and any(
        each.depths("weights_dimensions", modality) for each in found.values() for modality in MODALITIES
    )


def _names(depths: Sequence[int], found: Iterable[Layers]) -> list[str]:
    return panels.layer_names(depths, panels.first_layer(found))


def _previous_trace(at: float, parts: Sequence[float], variant: str, style: Style) -> go.Scatter:
    """Draw the mean part of the previous states, with a line from the lowest to the highest seed."""
    mean = float(np.mean(parts))
    return go.Scatter(
        x=[at],
        y=[mean],
        name=theme.escape_markup(f"{variant}, previous"),
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": 7},
        error_y={"array": [max(parts) - mean], "arrayminus": [mean - min(parts)], "thickness": 1.5, "width": 0},
        legendgroup=variant,
        showlegend=False,
        hovertemplate="%{fullData.name}: %{y:.3f}<extra></extra>",
    )


def _strip(offered: Sequence[int]) -> float:
    """Return the width of the strip of previous states, in levels: one, or an eighth of many."""
    return max(1.0, 0.12 * (offered[-1] - offered[0] + 1))


def _ticks(offered: Sequence[int], *, previous: bool) -> dict[str, object]:
    """Name some levels below a panel, the highest among them, and the previous states."""
    stride = max(1, -(-len(offered) // MAX_TICKS))
    levels = list(offered)[::-1][::stride][::-1]
    return {
        "tickvals": [*levels, *([offered[-1] + 1.25 * _strip(offered)] if previous else [])],
        "ticktext": [*map(str, levels), *([panels.PREVIOUS_COLUMN] if previous else [])],
        "range": [offered[0] - 0.3, offered[-1] + 1.8 * _strip(offered)],
    }


def _mean(rows: Iterable[Array | None]) -> Array | None:
    values = panels.stack_runs(rows)
    return None if values is None else values.mean(0)


def pad_rows(rows: Sequence[Array]) -> Array:
    """Stack rows of different lengths, filled up by not a number."""
    widest = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, widest - len(row)), constant_values=np.nan) for row in rows])


def _spread(spreads: Array | None, row: int, column: int) -> str:
    if spreads is None or not spreads[row, column] > 1e-6:  # the same for all dimensions, or nothing there
        return ""
    return f"<br>±{spreads[row, column]:.2f}"


def _any(runs: Mapping[StudyRun, Layers], kind: Kind) -> bool:
    return any(level_matrix(runs, kind, modality) is not None for modality in MODALITIES)
