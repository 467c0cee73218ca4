"""The tabs on training and layers.

`Curves`: logged metrics; `Layers`: which levels variants draw on; `Seeds and layers`: whether their seeds agree on it;
`Over training`: how one variant came to draw on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.address import page_href
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import StudyRequest, StudyTab
from mtlab.dashboard.selection import StudySelection
from mtlab.recording.reader import Layers
from mtlab.report import recordings
from mtlab.report.figures.curves import logged_metrics, metric_choices, plot_curves
from mtlab.report.figures.layers.aggregation import plot_aggregation, plot_heatmaps
from mtlab.report.figures.layers.agreement import plot_agreement
from mtlab.report.figures.layers.evolution import plot_evolution
from mtlab.report.figures.layers.similarity import MEASURE_NAMES, plot_consecutive, plot_similarity
from mtlab.report.figures.layers.specialisation import plot_entropy, plot_specialisation
from mtlab.report.figures.layers.training_signals import (
    AttentionKind,
    plot_attention,
    plot_gradients,
    plot_temperatures,
)
from mtlab.report.figures.layers.worth import plot_worth
from mtlab.report.recordings import RunRecordings, StudyRun, before_and_after

#: name in the address → the ways to draw curves, the first one unless chosen
CURVE_VIEWS = {
    "lines": {"mean": "mean and range", "seeds": "each seed"},
    "smoothing": {"none": "none", "smooth": "moving average"},
    "steps": {"linear": "linear", "log": "logarithmic"},
}
ATTENTIONS: Mapping[AttentionKind, str] = {"cross": "to the other modality", "self": "within the modality"}


def draw_layers_tab(request: StudyRequest) -> StudyTab:
    """Draw which levels each variant draws on, how sharply, and what they are worth."""
    selection, data, kind = request.selection, request.data, request.kind
    recorded = data.layers(selection.plan)
    if not recorded.found:
        return StudyTab([_nothing_recorded(request, recorded.why)], [request.kind_switch()])
    layers = _relabelled(selection, recorded)
    worths = selection.relabel(recordings.study_worths(data.store, selection.plan))
    figures = {
        "aggregation": plot_aggregation(layers, selection.styles, kind),
        "worth": plot_worth(layers, worths, selection.styles),
        "heatmaps": plot_heatmaps(layers, kind),
        "entropy": plot_entropy(layers, selection.styles, kind),
        "specialisation": plot_specialisation(layers, selection.styles, kind),
    }
    explorer = dcc.Link("See it word by word and patch by patch", href=page_href("tokens", study=request.summary.name))
    body = [html.P(explorer), *(request.figure(figure, name) for name, figure in figures.items())]
    return StudyTab([*body, missing_note(recorded.why)], [request.kind_switch()])


def draw_seeds_tab(request: StudyRequest) -> StudyTab:
    """Draw how far seeds agree, how similar consecutive layers are, and how widely attention heads look."""
    address, selection, data = request.address, request.selection, request.data
    recorded = data.layers(selection.plan)
    if not recorded.found:
        return StudyTab([_nothing_recorded(request, recorded.why)])
    layers = selection.relabel(recorded)
    # Agreement is within variants even where these are grouped: seeds of two variants need not agree.
    start, end = before_and_after(data.traces(selection.plan).found)
    names = list(dict.fromkeys(run.label for run in layers))
    variant = address.one("variant", names, _telling(layers, names))
    measure = address.one("measure", MEASURE_NAMES, "cka")
    attention = address.one("side", ATTENTIONS, "cross")
    figures = {
        "agreement": plot_agreement(end or recorded.found, start or None, selection.variants, request.kind),
        "consecutive": plot_consecutive(layers, selection.styles, measure),
        "similarity": plot_similarity(layers, variant, measure),
        "attention": plot_attention(layers, variant, attention),
    }
    bar = [
        request.kind_switch(),
        controls.radio_buttons("measure", "similarity", MEASURE_NAMES, measure),
        controls.dropdown("variant", "alone", {name: name for name in names}, variant, default=""),
        controls.radio_buttons("side", "attention", ATTENTIONS, attention),
    ]
    body = [request.figure(figure, name) for name, figure in figures.items()]
    return StudyTab([*body, missing_note(recorded.why)], bar)


def _relabelled(selection: StudySelection, recorded: RunRecordings[Layers]) -> dict[StudyRun, Layers]:
    """Label layers as `StudySelection.relabel`; the runs of a group may be offered different levels."""
    layers = selection.relabel(recorded)
    return layers if selection.group is None else recordings.align_levels(layers)


def _telling(layers: Mapping[StudyRun, Layers], names: Sequence[str]) -> str:
    """Return the variant to show first, see `most_telling`."""
    telling = recordings.most_telling(layers)
    return telling.label if telling is not None and telling.label in names else names[-1]


def missing_note(why: str | None) -> Component:
    """List the runs that a figure does not show, and why."""
    return components.note_list([f"Not shown: {why}"] if why else [])


def _nothing_recorded(request: StudyRequest, why: str | None) -> Component:
    return components.empty_notice(
        "No run of these variants has recorded which layers it used: that happens when a run finishes.",
        components.note_list([why] if why else []),
        components.quiet_text(
            "It is on unless `record.layers: false` was written. `mtlab status` tells how far runs are:"
        ),
        request.command_line("status"),
    )


def draw_curves_tab(request: StudyRequest) -> StudyTab:
    """Draw the learning curve of each variant or group, running runs included."""
    selection = request.selection
    histories = selection.relabel(recordings.study_histories(request.data.store, selection.plan))
    logged = logged_metrics(histories)
    if not logged:
        command = components.command_line(request.summary.command)
        return StudyTab([components.empty_notice("No run of these variants has logged anything yet.", command)])
    address, choices = request.address, metric_choices(logged, request.plan["metrics"]["choose"])
    metric = address.one("metric", choices, choices[0])
    lines, smoothing, steps = (address.one(name, options, next(iter(options))) for name, options in CURVE_VIEWS.items())
    figure = plot_curves(
        histories, metric, selection.styles, seeds=lines == "seeds", smooth=smoothing == "smooth", log=steps == "log"
    )
    chosen = {"lines": lines, "smoothing": smoothing, "steps": steps}
    bar = [
        controls.dropdown("metric", "metric", {name: name for name in choices}, metric),
        *(controls.radio_buttons(name, name, CURVE_VIEWS[name], value) for name, value in chosen.items()),
    ]
    return StudyTab([request.figure(figure, f"curves-{metric.replace('/', '-')}")], bar)


def draw_evolution_tab(request: StudyRequest) -> StudyTab:
    """Draw contributions, gradients and temperatures of one variant over training."""
    selection = request.selection
    recorded = request.data.traces(selection.plan)
    traces = selection.relabel(recorded)
    if selection.group is not None:
        steps = {(run, at): each for run, trace in traces.items() for at, each in enumerate(trace.layers)}
        aligned = recordings.align_levels(steps)
        traces = {
            run: replace(trace, layers=tuple(aligned[run, at] for at in range(len(trace.layers))))
            for run, trace in traces.items()
        }
    names = list(dict.fromkeys(run.label for run in traces))
    if not names:
        message = "No run of these variants has recorded its training: that is kept when a run finishes."
        notes = components.note_list([recorded.why] if recorded.why else [])
        return StudyTab([components.empty_notice(message, notes)])
    layers = selection.relabel(request.data.layers(selection.plan))
    variant = request.address.one("variant", names, _telling(layers, names))
    figures = {
        "evolution": plot_evolution(traces, variant, request.kind),
        "gradients": plot_gradients(traces, variant),
        "temperatures": plot_temperatures(layers, selection.styles),
    }
    body = [request.figure(figure, name) for name, figure in figures.items()]
    menu = controls.dropdown("variant", "variant", {name: name for name in names}, variant, default="")
    return StudyTab([*body, missing_note(recorded.why)], [menu, request.kind_switch()])
