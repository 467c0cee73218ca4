"""Plots the metric that is lost with other weights than those learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Modality, Worth
from mtlab.report.figures import dots, panels, theme
from mtlab.report.figures.metric_axes import metric_scale
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun
from mtlab.units import in_points


def plot_replaced_weights(worths: Mapping[StudyRun, Worth], styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot the loss with uniform weights, with their mean over an example's tokens, and with another seed's."""
    title = "What it is worth to choose: other weights instead of those learned"
    names = panels.variant_labels(worths)
    metric = next((each.metric for each in worths.values()), "val/accuracy")
    scale = metric_scale(metric)
    measured = [m for m in MODALITIES if any(each.without.get(m) or each.swapped for each in worths.values())]
    modalities = measured or list(MODALITIES)
    figure = panels.make_panels([""], modalities, x=f"lost{', points' if in_points(metric) else ''}", shared_y="rows")
    shown: list[str] = []
    counted: dict[str, dict[StudyRun, Worth]] = {}
    for column, modality in enumerate(modalities, 1):
        for variant in names:
            style = theme.find_style(styles, variant, names)
            for (name, symbol), value in zip(_SYMBOLS.items(), _VALUES, strict=True):
                losses = _losses(panels.runs_of(worths, variant), value, modality, scale)
                if not losses:
                    continue
                figure.add_traces(_traces(variant, name, symbol, list(losses.values()), style), 1, column)
                counted.setdefault(name, {}).update({run: worths[run] for run in losses})
                shown += [variant] if variant not in shown else []
    if not shown:
        return theme.empty(
            title,
            "It was not measured. `mtlab intervene RUN` measures it; `record.interventions: true` does so in runs to "
            "come. Managers that are no mixture have no weights to replace.",
        )
    for name in counted:
        figure.add_trace(panels.legend_entry(name, theme.NEUTRAL, _SYMBOLS[name]), row=1, col=1)
    figure.add_vline(x=0, line_width=1, line_dash="dot")
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=[theme.axis_label(name) for name in shown][::-1]
    )
    silent = [name for name in names if name not in shown]
    caption = (
        f"{metric} less that with all weights of a modality replaced: by uniform ones, by their mean over the tokens "
        "of each example, by those of a model of another seed (`mtlab intervene --swap`). At 0, the choice is worth "
        f"nothing, or there is none. {_describe_means(counted)}; over all validation examples."
        f"{panels.list_without(silent, 'measurements')}"
    )
    return theme.finish(figure, title, caption, height=160 + dots.lines_height(shown, 34))


def _describe_means(counted: Mapping[str, Mapping[StudyRun, Worth]]) -> str:
    """Say of how many seeds means are shown, for each kind of mark where they have not the same runs."""
    spread, kinds = "line: lowest to highest seed", list(counted.values())
    every = {run: worth for found in kinds for run, worth in found.items()}
    if len(panels.variant_labels(every)) == len(every) or all(len(found) == len(every) for found in kinds):
        return panels.describe_means(every, spread)
    seeds = "; ".join(f"{name}: {panels.describe_seeds(found)}" for name, found in counted.items())
    return f"Mean over seeds, {spread}; {seeds}"


def _swapped(worth: Worth, modality: Modality) -> float | None:
    values = [swap[modality] for swap in worth.swapped.values() if modality in swap]
    return sum(values) / len(values) if values else None


_SYMBOLS = {"uniform": "circle", "alike for all tokens": "diamond", "another seed's": "x"}
_VALUES: tuple[Callable[[Worth, Modality], float | None], ...] = (
    lambda worth, modality: worth.uniform.get(modality),
    lambda worth, modality: worth.token_mean.get(modality),
    _swapped,
)


def _losses(
    runs: Mapping[StudyRun, Worth], value: Callable[[Worth, Modality], float | None], modality: Modality, scale: float
) -> dict[StudyRun, float]:
    found = {run: (each.undisturbed, value(each, modality)) for run, each in runs.items()}
    return {
        run: scale * (whole - other) for run, (whole, other) in found.items() if whole is not None and other is not None
    }


def _traces(variant: str, name: str, symbol: str, losses: list[float], style: Style) -> list[go.Scatter]:
    label, middle = theme.axis_label(variant), sum(losses) / len(losses)
    return [
        go.Scatter(
            x=[min(losses), max(losses)],
            y=[label, label],
            mode="lines+markers",  # an axis leaves room beside markers
            line={"color": theme.with_opacity(style.colour, 0.5), "width": 3},
            marker={"color": theme.with_opacity(style.colour, 0.5), "size": 3},
            hoverinfo="skip",
            showlegend=False,
        ),
        go.Scatter(
            x=[middle],
            y=[label],
            mode="markers",
            marker={"color": style.colour, "symbol": symbol, "size": 10},
            name=name,
            showlegend=False,
            hovertemplate=f"%{{y}}, {name}: %{{x:.1f}}<extra></extra>",
        ),
    ]
