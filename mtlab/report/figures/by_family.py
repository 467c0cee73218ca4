"""Plots the means of variants on each family of questions, coloured by the difference to the baseline."""

from __future__ import annotations

import plotly.graph_objects as go

from mtlab.report.figures import panels, theme
from mtlab.report.formats import captions, numbers
from mtlab.report.study_report import StudyReport


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
