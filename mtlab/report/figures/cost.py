"""Plots the metric of each variant over its cost in parameters, FLOPs, time or memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import plotly.graph_objects as go

from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.formats import numbers
from mtlab.report.study_report import StudyReport

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
    points = numbers.in_points(report.metric)
    title = f"Cost against quality: {report.metric} by {COSTS[of]}"
    rows = [row for row in report.rows if row.mean is not None and getattr(row.cost, of) is not None]
    if not rows:
        return theme.empty(title, "No finished run has this cost.")
    names, scale = [row.label for row in report.rows], 100 if points else 1
    figure = panels.make_panels([""], [""], x=COSTS[of], y=f"{report.metric}{', points' if points else ''}")
    for row in rows:
        assert row.mean is not None
        style, interval = theme.find_style(styles, row.label, names), row.mean.interval
        half = None if interval is None else {"array": [scale * (interval[1] - row.mean.mean)], "thickness": 1.5}
        value = getattr(row.cost, of)
        cost = numbers.format_duration(value) if of == "seconds" else numbers.format_count(value)
        hover = f"{numbers.format_mean(row.mean, report.metric)} at {cost}"
        figure.add_trace(
            go.Scatter(
                x=[value],
                y=[scale * row.mean.mean],
                error_y=None if half is None else {"type": "data", "color": style.colour, "width": 4, **half},
                mode="markers",
                marker={"color": style.colour, "symbol": style.symbol, "size": 11},
                name=theme.escape_markup(row.label),
                hovertemplate=f"%{{fullData.name}}: {hover}<extra></extra>",
            )
        )
    caption = (
        f"Mean over seeds with its {numbers.format_level(report.alpha)} t interval; {_seeds(report)}. "
        f"Cost: {COSTS[of]}, "
        f"{'mean over seeds' if of in ('seconds', 'memory_mib') else 'the same for all seeds'}."
    )
    return theme.finish(figure, title, caption, height=400)


def _seeds(report: StudyReport) -> str:
    counts = sorted({row.n for row in report.rows if row.n})
    return f"n = {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} seeds a variant"
