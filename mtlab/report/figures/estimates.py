"""Plots each variant's mean and interval, its difference to the baseline, and its means by family of questions."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from mtlab.report.comparison import ComparisonRow
from mtlab.report.figures import panels, theme
from mtlab.report.figures.theme import Style
from mtlab.report.formats import captions, numbers
from mtlab.report.study_report import StudyReport
from mtlab.statistics.seed_tests import lookup_test


def plot_estimates(report: StudyReport, styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot mean and interval of each row and, with a baseline, the difference on shared seeds beside it."""
    title = f"{report.study}: {report.metric}{', in points' if numbers.in_points(report.metric) else ''}"
    rows = [row for row in report.rows if row.mean is not None]
    if not rows:
        return theme.empty(title, "No run is finished yet.")
    names, scale = [row.label for row in report.rows], 100 if numbers.in_points(report.metric) else 1
    compared = any(row.difference is not None for row in rows)
    columns = ["mean and interval", "difference to the baseline"] if compared else ["mean and interval"]
    figure = panels.make_panels([""], columns, shared_y=True)
    for row in rows:
        style = theme.find_style(styles, row.label, names)
        figure.add_trace(_estimate(row, style, scale, report.metric), row=1, col=1)
        if compared and row.difference is not None:
            figure.add_trace(_difference(row, style, scale, report.metric), row=1, col=2)
    if compared:
        figure.add_vline(x=0, line_width=1, line_dash="dot", row=1, col=2)
    for mean in {row.mean.mean for row in rows if row.is_baseline and row.mean is not None}:
        figure.add_vline(x=scale * mean, line_width=1, line_dash="dot", row=1, col=1)
    figure.update_yaxes(categoryorder="array", categoryarray=[theme.axis_label(row.label) for row in rows][::-1])
    figure.update_layout(showlegend=False)
    return theme.finish(figure, title, _caption(report, compared=compared), height=110 + 32 * len(rows))


def _caption(report: StudyReport, *, compared: bool) -> str:
    level = numbers.format_level(report.alpha)
    mean = f"Mean over seeds and its {level} t interval; {captions.describe_seeds(report)}"
    mean += "" if report.examples is None else f", {report.examples} examples"
    if not compared:
        return f"{mean}."
    baseline = captions.common_baseline(report) or "the row named in the verdict"
    number = report.comparisons
    holm = f", corrected by Holm for {number} comparison{'s' if number > 1 else ''}"
    level_of_test = f"p ≤ {report.alpha:g}{holm if report.correct == 'holm' else ''}"
    return (
        f"{mean}. Right: difference to {baseline} on shared seeds and its {level} interval. Filled: a difference was "
        f"shown ({lookup_test(report.test).words}, {level_of_test}); hollow: none was shown."
    )


def _estimate(row: ComparisonRow, style: Style, scale: float, metric: str) -> go.Scatter:
    assert row.mean is not None
    interval = row.mean.interval
    text = f"{row.label}: {numbers.format_mean(row.mean, metric)} (n = {row.n})"
    return _dot(row.label, row.mean.mean, interval, style, scale, text, filled=True)


def _difference(row: ComparisonRow, style: Style, scale: float, metric: str) -> go.Scatter:
    assert row.difference is not None
    gap = row.difference
    text = f"{numbers.format_interval(gap.difference, gap.interval, metric, sign=True)}: {row.verdict}"
    return _dot(row.label, gap.difference, gap.interval, style, scale, text, filled=row.outcome in ("better", "worse"))


def _dot(
    label: str,
    value: float,
    interval: tuple[float, float] | None,
    style: Style,
    scale: float,
    text: str,
    *,
    filled: bool,
) -> go.Scatter:
    error = None
    if interval is not None:
        error = {
            "type": "data",
            "symmetric": False,
            "array": [scale * (interval[1] - value)],
            "arrayminus": [scale * (value - interval[0])],
            "thickness": 2,
            "width": 5,
            "color": style.colour,
        }
    return go.Scatter(
        x=[scale * value],
        y=[theme.axis_label(label)],
        error_x=error,
        mode="markers",
        marker={"color": style.colour, "size": 10, "symbol": style.symbol if filled else f"{style.symbol}-open"},
        name=theme.escape_markup(label),
        customdata=[theme.escape_markup(text)],
        hovertemplate="%{customdata}<extra></extra>",
    )


def plot_families(report: StudyReport) -> go.Figure:
    """Plot variants × families; the colour is the difference to the baseline, marks say where one was shown."""
    title = f"{report.study}: {report.metric} by family of questions"
    if not report.families:
        return theme.empty(title, captions.NO_FAMILIES)
    names, labels = list(report.families), [row.label for row in report.rows]
    scale = 100 if numbers.in_points(report.metric) else 1
    gaps, texts = [], []
    for index in range(len(labels)):
        rows = [report.families[name][index] for name in names]
        gaps.append([None if row.difference is None else scale * row.difference.difference for row in rows])
        texts.append(
            [
                numbers.add_mark(numbers.format_score(row.mean.mean if row.mean else None, report.metric), row.outcome)
                for row in rows
            ]
        )
    largest = max((abs(gap) for row in gaps for gap in row if gap is not None), default=0) or 1
    figure = panels.make_panels([""], [""])
    figure.add_trace(
        go.Heatmap(
            x=[theme.axis_label(name) for name in names],
            y=[theme.axis_label(name) for name in labels],
            z=[[0 if gap is None else gap for gap in row] for row in gaps],
            text=texts,
            texttemplate="%{text}",
            coloraxis="coloraxis",
            hovertemplate="%{y}, %{x}: %{text} (difference %{z:+.1f})<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(coloraxis={"cmin": -largest, "cmax": largest, "colorbar": {"title": {"text": "difference"}}})
    return theme.finish(figure, title, captions.family_caption(report), height=120 + 30 * len(labels))
