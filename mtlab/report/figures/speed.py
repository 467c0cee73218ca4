"""Plots how fast variants learn: the areas under their validation curves, and their steps to the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from mtlab.report.figures import dots, panels, theme
from mtlab.report.figures.metric_axes import metric_range, metric_scale
from mtlab.report.figures.theme import Style
from mtlab.report.formats import numbers, speed_table

if TYPE_CHECKING:
    from mtlab.report.learning.speed import SpeedRow
    from mtlab.report.study_report import StudyReport

_NEVER = "triangle-right-open"  #: of a run that never reached the target, at its length


def plot_speed(report: StudyReport, styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot the area under each variant's validation curve and, beside it, its steps to the target."""
    speed = report.speed
    title = f"{report.study}: learning speed"
    rows = [] if speed is None else [row for row in speed.rows if row.areas or row.reached is not None]
    if speed is None or not rows:
        return theme.empty(title, "No finished run was validated while it was trained.")
    columns = [f"area under {speed.metric}"]
    columns += [speed_table.steps_heading(speed)] if speed.targets else []
    figure = panels.make_panels([""], columns, shared_y=True)
    names = [row.label for row in speed.rows]
    for place, row in enumerate(rows):
        style = theme.find_style(styles, row.label, names)
        figure.add_traces(_areas(row, place, style, speed.metric), rows=1, cols=1)
        if speed.targets:
            figure.add_traces(_steps(row, place, style), rows=1, cols=2)
    figure.update_xaxes(range=metric_range(dots.shown_values(figure, "x"), speed.metric), row=1, col=1)
    if speed.targets:
        lengths = {row.reached.length for row in rows if row.reached is not None}
        for length in lengths:
            figure.add_vline(x=length, line_width=1, line_dash="dot", row=1, col=2)
        figure.update_xaxes(range=[0, 1.04 * max(lengths)], row=1, col=2)
    dots.label_lines(figure, [row.label for row in rows])
    caption = " ".join(
        [speed_table.speed_caption(report, marks=False), *_explain_marks(rows, target=bool(speed.targets))]
    )
    return theme.finish(figure, title, caption, height=110 + dots.lines_height([row.label for row in rows]))


def _explain_marks(rows: Sequence[SpeedRow], *, target: bool) -> Iterator[str]:
    """Explain the marks that are drawn."""
    if any(len(row.areas) > 1 for row in rows):
        yield "Small dots: single seeds."
    if target:
        several = any(row.reached is not None and len(row.reached.by_seed) > 1 for row in rows)
        yield f"Dotted line: end of training{', where longer intervals are cut' if several else ''}."
    if target and any(row.reached is not None and row.reached.censored for row in rows):
        yield "Open triangles: not within."


def _areas(row: SpeedRow, place: int, style: Style, metric: str) -> list[go.Scatter]:
    if row.area is None:
        return []
    scale, interval = metric_scale(metric), row.area.interval
    text = f"{row.label}: {numbers.format_mean(row.area, metric)} (n = {len(row.areas)})"
    ends = None if interval is None else (scale * interval[0], scale * interval[1])
    mean = dots.mean_dot(row.label, place, scale * row.area.mean, ends, style, text, filled=True)
    if len(row.areas) < 2:
        return [mean]
    values = {seed: scale * area for seed, area in row.areas.items()}
    texts = [numbers.format_score(area, metric) for area in row.areas.values()]
    return [*dots.seed_dots(row.label, place, values, style, texts), mean]


def _steps(row: SpeedRow, place: int, style: Style) -> list[go.Scatter]:
    reached = row.reached
    if reached is None:
        return []
    found = {seed: step for seed, step in reached.by_seed.items() if step is not None}
    never = {seed: reached.length for seed, step in reached.by_seed.items() if step is None}
    traces = []
    if reached.mean is None or len(found) > 1:
        traces += dots.seed_dots(row.label, place, found, style, [f"{step:,} steps" for step in found.values()])
    if never:
        texts = [f"not within {reached.length:,} steps"] * len(never)
        (censored,) = dots.seed_dots(row.label, place, never, style, texts, _NEVER)
        count = f"{len(never)} of {len(reached.by_seed)}"  # they lie on one another
        traces.append(censored.update(mode="markers+text", text=[count], textposition="top left", textfont_size=11))
    if reached.mean is not None:
        text = f"{row.label}: {speed_table.format_steps(reached)} steps"
        traces.append(
            dots.mean_dot(row.label, place, reached.mean.mean, reached.mean.interval, style, text, filled=True)
        )
    return traces
