"""Plots logged metrics over the steps of training: mean over seeds with a band, or each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import Array
from mtlab.report.figures import panels, theme
from mtlab.report.figures.metric_axes import axis_title, metric_range, metric_scale
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import MetricHistory, StudyRun
from mtlab.units import in_points

_TICKS = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
_LOG = {"type": "log", "tickmode": "array", "tickvals": _TICKS, "ticktext": [f"{tick:,}" for tick in _TICKS]}
_LINEAR = {"type": "linear", "tickmode": "auto"}
#: how the axes of steps may be, as changes of the layout
STEP_AXES: Mapping[str, Mapping[str, Any]] = {
    "linear": {"xaxis": _LINEAR, "xaxis2": _LINEAR},
    "log": {"xaxis": _LOG, "xaxis2": _LOG},
}
BESIDE = " and "  #: between the metrics of one figure
_MARGIN = 0.02  #: of the range of an axis, at each end
SMOOTHING = 0.6  #: weight of what came before, in the moving average of smoothed curves


def plot_curves(
    found: Mapping[StudyRun, MetricHistory],
    metric: str = "val/accuracy",
    styles: Mapping[str, Style] | None = None,
    *,
    seeds: bool = False,
    smooth: bool = False,
    log: bool = False,
) -> go.Figure:
    """Plot logged metrics of each variant over the steps of training.

    Args:
        found: the logged metrics of each run.
        metric: its name, or several names with " and " between them, a panel each.
        styles: of the study's variants.
        seeds: a line for each run, not the mean and range of each variant at the steps that all its runs logged.
        smooth: show exponential moving averages.
        log: a logarithmic axis of steps.

    """
    metrics = [metric] if metric in logged_metrics(found) else metric.split(BESIDE)  # a family may hold " and "
    title = f"Learning curves: {metric}"
    names = panels.variant_labels(found)
    several = len(metrics) > 1
    figure = panels.make_panels([""], [axis_title(name) for name in metrics] if several else [""], shared_y=False)
    drawn: dict[str, None] = {}
    for column, name in enumerate(metrics, 1):
        shown: list[float] = []
        for variant in names:
            style = theme.find_style(styles, variant, names)
            runs = _curves(panels.runs_of(found, variant), name, smooth=smooth)
            made = _lines(runs, variant, style, name, legend=variant not in drawn, seeds=seeds)
            figure.add_traces(made, rows=1, cols=column)
            if made:
                drawn[variant] = None
                shown += [value for _, values in runs.values() for value in values]
        title_text = "" if several else axis_title(name)
        figure.update_yaxes(range=_with_margin(metric_range(shown, name)), title_text=title_text, col=column)
    logged = {run: history for run, history in found.items() if any(name in row for name in metrics for row in history)}
    if not drawn and logged:
        return theme.empty(title, f"No variant has a step at which all its runs logged {metric}.")
    if not drawn:
        return theme.empty(
            title, f"No run has logged {metric} yet; logged: {', '.join(logged_metrics(found)) or 'nothing'}."
        )
    figure.update_xaxes(title_text="step of training", **(_LOG if log else _LINEAR))
    caption = (
        f"{_caption(logged, metrics, seeds=seeds, smooth=smooth)}{_left_out(found, metrics, seeds=seeds)}"
        f"{panels.hide_beyond_limit(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=380)


def _with_margin(ends: list[float] | None) -> list[float] | None:
    """Extend an axis by so much that a marker on the limit of its metric is seen whole."""
    if ends is None:
        return None
    margin = _MARGIN * (ends[1] - ends[0])
    return [ends[0] - margin, ends[1] + margin]


def logged_metrics(found: Mapping[StudyRun, MetricHistory]) -> list[str]:
    """Return the names of the logged metrics."""
    names = dict.fromkeys(name for history in found.values() for row in history for name in row)
    return [name for name in names if name not in ("step", "seconds")]


def metric_choices(logged: Sequence[str], choose: str) -> list[str]:
    """Return what `plot_curves` can show, the metric that chooses checkpoints first, beside its loss second.

    `primary` is another name of a task's first metric: it is there if it chooses.
    """
    loss, logged = "val/loss", [name for name in logged if not name.endswith("/primary") or name == choose]
    pair = [f"{choose}{BESIDE}{loss}"] if {choose, loss} <= set(logged) and choose != loss else []
    first = [choose, *pair, loss, "train/loss"]
    return list(dict.fromkeys([name for name in first if name in (*logged, *pair)] + list(logged)))


def _curves(
    runs: Mapping[StudyRun, MetricHistory], metric: str, *, smooth: bool
) -> dict[StudyRun, tuple[list[int], list[float]]]:
    """Return steps and shown values of the runs that logged a metric."""
    curves = {}
    for run, history in runs.items():
        logged = {row["step"]: metric_scale(metric) * row[metric] for row in history if metric in row}
        if logged:
            values = list(logged.values())
            curves[run] = list(logged), smooth_values(values) if smooth else values
    return curves


def smooth_values(values: Sequence[float]) -> list[float]:
    """Return the exponential moving average of values, without a bias to the first.

    >>> [round(value, 3) for value in smooth_values([1.0, 0.0, 0.0])]
    [1.0, 0.375, 0.184]
    """
    average, smoothed = 0.0, []
    for number, value in enumerate(values, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        smoothed.append(average / (1 - SMOOTHING**number))
    return smoothed


def _lines(
    curves: Mapping[StudyRun, tuple[list[int], list[float]]],
    variant: str,
    style: Style,
    metric: str,
    *,
    legend: bool,
    seeds: bool,
) -> list[go.Scatter]:
    points = "%{y:.1f}" if in_points(metric) else "%{y:.4g}"
    hover = f"{points} at step %{{x:,}}"
    if not seeds:
        made = _align(list(curves.values()))
        return [] if made is None else panels.band_traces(*made, variant, style, legend=legend, hover=hover)
    line: dict[str, Any] = {"color": style.colour, "dash": style.dash}
    lines = [
        go.Scatter(
            x=steps,
            y=values,
            name=theme.escape_markup(f"{variant}, seed {run.seed}"),
            mode="lines",
            line={**line, "width": 1.3},
            legendgroup=variant,
            showlegend=False,
            hovertemplate=f"%{{fullData.name}}: {hover}<extra></extra>",
        )
        for run, (steps, values) in curves.items()
    ]
    if lines and legend:
        name = theme.escape_markup(variant)
        lines.append(go.Scatter(x=[None], y=[None], mode="lines", line=line, name=name, legendgroup=variant))
    return lines


def _align(curves: Sequence[tuple[list[int], list[float]]]) -> tuple[list[int], Array] | None:
    """Align curves at the steps that all of them have: steps [S], values [runs, S]."""
    if not curves:
        return None
    steps = sorted(set.intersection(*(set(steps) for steps, _ in curves)))
    by_step = [dict(zip(*curve, strict=True)) for curve in curves]
    values = np.array([[each[step] for step in steps] for each in by_step], dtype=float)
    return (steps, values) if steps else None


def _left_out(found: Mapping[StudyRun, MetricHistory], metrics: Sequence[str], *, seeds: bool) -> str:
    """Name the variants that are drawn in part or not at all, in sentences; empty without any."""
    sentences: dict[str, None] = {}
    for metric in metrics:
        silent, apart, cut = [], [], []
        for variant in panels.variant_labels(found):
            curves = _curves(panels.runs_of(found, variant), metric, smooth=False).values()
            steps = [set(steps) for steps, _ in curves]
            every, shared = set().union(*steps), set.intersection(*steps) if steps else set()
            if not every:
                silent.append(variant)
            elif not shared:
                apart.append(variant)
            elif shared != every:
                end = f" (to step {max(shared):,} of {max(every):,})" if max(shared) < max(every) else ""
                cut.append(f"{variant}{end}")
        sentences[panels.list_without(silent, metric)] = None
        if not seeds:
            sentences[panels.list_without(apart, "a step that all runs of the variant logged")] = None
            if cut:
                sentences[f" Drawn only at steps that all runs of the variant logged: {', '.join(cut)}."] = None
    return "".join(sentences)


def _caption(found: Mapping[StudyRun, MetricHistory], metrics: Sequence[str], *, seeds: bool, smooth: bool) -> str:
    sources = {"val": "validation data", "train": "training batches"}
    data = " and ".join(
        dict.fromkeys(sources[name.partition("/")[0]] for name in metrics if name.partition("/")[0] in sources)
    )
    where = f"; on {data}" if data else ""
    average = f" Smoothed: an exponential moving average of factor {SMOOTHING:g}." if smooth else ""
    if len(panels.variant_labels(found)) == len(found):
        return f"{panels.describe_means(found)}{where}.{average}"
    if seeds:
        return f"A line for each seed; {panels.describe_seeds(found)}{where}.{average}"
    note = "A mean over seeds may rise smoothly where single seeds jump."
    return f"{panels.describe_means(found)}{where}. {note}{average}"
