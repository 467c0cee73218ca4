"""Plots each variant's mean and interval, its difference to the baseline, and its means by family of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mtlab.report.comparison.compare import ComparisonRow
from mtlab.report.comparison.seed_results import SeedResults
from mtlab.report.figures import dots, panels, theme
from mtlab.report.figures.metric_axes import axis_title, metric_range, metric_scale, shown_interval
from mtlab.report.figures.theme import Style
from mtlab.report.formats import captions, numbers
from mtlab.report.study_report import StudyReport
from mtlab.statistics.seed_tests import lookup_test
from mtlab.units import format_span, in_points


def plot_estimates(report: StudyReport, styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot mean, interval and single seeds of each row and, with a baseline, those of its difference beside it."""
    title = f"{report.study}: {report.metric}{', in points' if in_points(report.metric) else ''}"
    rows = [row for row in report.rows if row.mean is not None]
    if not rows:
        return theme.empty(title, "No run is finished yet.")
    names = [row.label for row in report.rows]
    compared = any(row.difference is not None for row in rows)
    mean_title = "mean and interval" if report.has_several_seeds else "result"
    columns = [mean_title, "difference to the baseline"] if compared else [mean_title]
    figure = panels.make_panels([""], columns, x=axis_title(report.metric), shared_y=True)
    for place, row in enumerate(rows):
        style = theme.find_style(styles, row.label, names)
        figure.add_traces(_estimate(row, place, style, report), rows=1, cols=1)
        if compared and row.difference is not None:
            figure.add_traces(_difference(row, place, style, report), rows=1, cols=2)
    if compared:
        figure.add_vline(x=0, line_width=1, line_dash="1px,3px", row=1, col=2)
        figure.update_xaxes(
            range=metric_range(dots.shown_values(figure, "x2"), report.metric, difference=True), row=1, col=2
        )
    lines = _draw_lines(figure, rows, report.metric)
    marks = [f" {numbers.MARKS['not learned']}" if row.outcome == "not learned" else "" for row in rows]
    dots.label_lines(figure, [f"{row.label}{mark}" for row, mark in zip(rows, marks, strict=True)])
    caption = _caption(report, lines, compared=compared)
    return theme.finish(figure, title, caption, height=130 + dots.lines_height([row.label for row in rows]))


def _draw_lines(figure: go.Figure, rows: Sequence[ComparisonRow], metric: str) -> str:
    """Draw baselines, and blind answers where they are within the axis, which is set; describe what is drawn."""
    scale = metric_scale(metric)
    baselines = {scale * row.mean.mean for row in rows if row.is_baseline and row.mean is not None}
    floors = {scale * row.learning.floor for row in rows if row.learning is not None}
    # A floor far below all results would only squeeze them.
    shown = [scale * row.learning.floor for row in rows if row.learning and not row.learning.complete]
    limits = metric_range([*dots.shown_values(figure, "x"), *shown], metric)
    figure.update_xaxes(range=limits, row=1, col=1)
    within = {floor for floor in floors if limits is None or limits[0] <= floor <= limits[1]}
    for dash, places in (("1px,3px", baselines), ("dash", within)):  # plotly's "dot" is 3px,3px, like dashes
        for place in places:
            figure.add_vline(x=place, line_width=1, line_dash=dash, row=1, col=1)
    dotted = f"; dotted: {'the baseline' if len(baselines) == 1 else 'each baseline'}" if baselines else ""
    return dotted + ("; dashed: the best blind answer" if within else "")


def _caption(report: StudyReport, lines: str, *, compared: bool) -> str:
    level = numbers.format_level(report.alpha)
    over = "" if report.examples is None else f", {report.examples} examples"
    if not report.has_several_seeds:
        beside = "; right: its difference to the baseline's, which is not tested" if compared else ""
        return f"Each dot is one run{over}: nothing is known of the spread over seeds{lines}{beside}."
    mean = f"Mean over seeds and its {level} interval, small dots: single seeds"
    mean += f"; {captions.describe_seeds(report)}{over}{lines}"
    untrained = [f"{row.label} {row.learning}" for row in report.rows if row.outcome == "not learned"]
    if untrained:
        mean += f"; {numbers.MARKS['not learned']} {', '.join(untrained)}"
    if not compared:
        return f"{mean}."
    baseline = captions.common_baseline(report) or "the row named in the verdict"
    number = report.comparisons
    if not number:
        return f"{mean}. Right: difference to {baseline} on shared seeds; no row is compared."
    holm = f", corrected by Holm for {format_span([number], 'comparison')}"
    level_of_test = f"p ≤ {report.alpha:g}{holm if report.correct == 'holm' else ''}"
    return (
        f"{mean}. Right: difference to {baseline} on shared seeds and its {level} interval; dotted: no difference. "
        f"Filled: a difference was shown ({lookup_test(report.test).words}, {level_of_test}); hollow: none was shown."
    )


def _estimate(row: ComparisonRow, place: int, style: Style, report: StudyReport) -> list[go.Scatter]:
    assert row.mean is not None
    text = f"{row.label}: {numbers.format_mean(row.mean, report.metric)} (n = {row.n})"
    filled = row.outcome != "not learned"
    return _dots(
        row.label, place, row.mean.mean, row.mean.interval, row.results, style, report.metric, text, filled=filled
    )


def _difference(row: ComparisonRow, place: int, style: Style, report: StudyReport) -> list[go.Scatter]:
    assert row.difference is not None
    gap = row.difference
    text = f"{numbers.format_interval(gap.difference, gap.interval, report.metric, sign=True)}: {row.verdict}"
    filled = row.outcome in ("better", "worse")
    return _dots(
        row.label,
        place,
        gap.difference,
        gap.interval,
        row.differences,
        style,
        report.metric,
        text,
        difference=True,
        filled=filled,
    )


def _dots(
    label: str,
    place: int,
    value: float,
    interval: tuple[float, float] | None,
    by_seed: SeedResults,
    style: Style,
    metric: str,
    text: str,
    *,
    difference: bool = False,
    filled: bool = True,
) -> list[go.Scatter]:
    """Draw a mean with its interval, and below it each of several seeds."""
    scale, ends = metric_scale(metric), shown_interval(interval, metric, difference=difference)
    mean = dots.mean_dot(label, place, scale * value, ends, style, text, filled=filled)
    if len(by_seed) < 2:
        return [mean]
    texts = [numbers.format_score(each, metric, sign=difference) for each in by_seed.values()]
    values = {seed: scale * each for seed, each in by_seed.items()}
    return [*dots.seed_dots(label, place, values, style, texts), mean]


def plot_families(report: StudyReport) -> go.Figure:
    """Plot variants × families; the colour is the difference to the baseline, marks say where one was shown."""
    title = f"{report.study}: {report.metric} by family of questions"
    if not report.families:
        return theme.empty(title, captions.NO_FAMILIES)
    names, scale = list(report.families), metric_scale(report.metric)
    labels, gaps, means, texts, told = [], [], [], [], []
    for rows in zip(*report.families.values(), strict=True):
        if all(row.mean is None for row in rows):
            continue
        labels.append(rows[0].label)
        found = [None if row.difference is None else row.difference.difference for row in rows]
        gaps.append([0 if gap is None else scale * gap for gap in found])
        means.append([scale * row.mean.mean if row.mean else None for row in rows])
        signed = [numbers.format_score(gap, report.metric, sign=True) for gap in found]
        told.append(["" if gap == numbers.NONE else f" (difference {gap})" for gap in signed])
        texts.append(
            [
                numbers.add_mark(numbers.format_score(row.mean.mean if row.mean else None, report.metric), row.outcome)
                for row in rows
            ]
        )
    if not labels:
        return theme.empty(title, captions.NO_FAMILIES)
    largest = max(abs(gap) for row in gaps for gap in row) or 1
    compared = any(row.difference is not None for rows in report.families.values() for row in rows)
    figure = panels.make_panels([""], [""])
    figure.add_trace(
        go.Heatmap(
            x=[theme.axis_label(name) for name in names],
            y=[theme.axis_label(name) for name in labels],
            z=gaps,
            name="mean",
            meta={"values": means},  # the colours are differences
            text=texts,
            texttemplate="%{text}",
            customdata=told,
            coloraxis="coloraxis",
            hovertemplate="%{y}, %{x}: %{text}%{customdata}<extra></extra>",
        )
    )
    figure.update_xaxes(type="category").update_yaxes(type="category", autorange="reversed")
    unit = ", points" if in_points(report.metric) else ""
    bar = {"title": {"text": f"difference{unit}"}}
    figure.update_layout(coloraxis={"cmin": -largest, "cmax": largest, "colorbar": bar, "showscale": compared})
    colour = "; the colour is the difference to the baseline" if compared else ""
    caption = captions.family_caption(report, f"means over seeds{colour}")
    return theme.finish(figure, title, caption, height=120 + dots.lines_height(labels, 30))
