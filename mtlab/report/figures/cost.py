"""Plots the metric of each variant over its cost in parameters, FLOPs, time or memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import plotly.graph_objects as go

from mtlab.report.figures import panels, theme
from mtlab.report.figures.metric_axes import axis_title, metric_range, metric_scale, shown_interval
from mtlab.report.figures.theme import Style
from mtlab.report.formats import numbers
from mtlab.report.study_report import StudyReport
from mtlab.units import format_span

CostName = Literal["trained_params", "flops", "training_flops", "seconds", "memory_mib"]
COSTS: Mapping[CostName, str] = {
    "trained_params": "trained parameters",
    "flops": "FLOPs of one example, forward",
    "training_flops": "FLOPs of the whole training",
    "seconds": "seconds of training",
    "memory_mib": "peak memory, MiB",
}


def plot_cost(
    report: StudyReport, of: CostName = "trained_params", styles: Mapping[str, Style] | None = None
) -> go.Figure:
    """Plot each variant's mean and interval over its cost."""
    title = f"Cost against quality: {report.metric} by {COSTS[of]}"
    rows = [row for row in report.rows if row.mean is not None and getattr(row.cost, of) is not None]
    if not rows:
        return theme.empty(title, "No finished run has this cost.")
    names, scale = [row.label for row in report.rows], metric_scale(report.metric)
    figure = panels.make_panels([""], [""], x=COSTS[of], y=axis_title(report.metric))
    costs, shown = [getattr(row.cost, of) for row in rows], list[float]()
    reach = max(costs) - min(costs) or 0.2 * costs[0]
    beside = 0.012 * reach
    if max(costs) == min(costs):
        figure.update_xaxes(range=[0.9 * costs[0], 1.1 * costs[0]])
    for row in rows:
        assert row.mean is not None
        style, value = theme.find_style(styles, row.label, names), getattr(row.cost, of)
        middle = scale * row.mean.mean
        low, high = shown_interval(row.mean.interval, report.metric) or (middle, middle)
        cost = numbers.format_duration(value) if of == "seconds" else numbers.format_count(value)
        hover = f"{numbers.format_mean(row.mean, report.metric)} at {cost}"
        error = {"type": "data", "symmetric": False, "array": [high - middle], "arrayminus": [middle - low]}
        name, seeds = theme.escape_markup(row.label), [scale * result for result in row.results.values()]
        if len(seeds) > 1:
            figure.add_trace(
                go.Scatter(
                    x=[value + beside] * len(seeds),
                    y=seeds,
                    mode="markers",
                    marker={"color": style.colour, "size": 5, "opacity": 0.55},
                    name=name,
                    meta={"x": value},  # dots lie beside it
                    ids=[f"seed {seed}" for seed in row.results],
                    legendgroup=name,
                    showlegend=False,
                    customdata=list(row.results),
                    hovertemplate=f"{name}, seed %{{customdata}}: %{{y:.4~g}}<extra></extra>",
                    cliponaxis=False,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=[value],
                y=[middle],
                error_y=None if row.n < 2 else {"color": style.colour, "width": 4, "thickness": 1.5, **error},
                mode="markers",
                marker={"color": style.colour, "symbol": style.symbol, "size": 11},
                name=name,
                legendgroup=name,
                hovertemplate=f"%{{fullData.name}}: {hover}<extra></extra>",
                cliponaxis=False,
            )
        )
        shown += [low, high, middle, *seeds]
    figure.update_yaxes(range=metric_range(shown, report.metric))
    if report.has_several_seeds:
        level = numbers.format_level(report.alpha)
        result = f"Mean over seeds with its {level} interval, small dots: single seeds; {_seeds(report)}"
    else:
        result = "Each dot is one run"
    over = "mean over seeds" if of in ("seconds", "memory_mib") else "the same for all seeds"
    return theme.finish(figure, title, f"{result}. Cost: {COSTS[of]}, {over}.", height=400)


def _seeds(report: StudyReport) -> str:
    return f"n = {format_span([row.n for row in report.rows if row.n], 'seed')} a variant"
