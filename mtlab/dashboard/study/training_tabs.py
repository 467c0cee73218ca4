"""The tabs `Curves` and `Over training`: logged metrics, and how one variant's use of levels evolved."""

from __future__ import annotations

from mtlab.dashboard import components, controls
from mtlab.dashboard.page import StudyRequest, StudyTab
from mtlab.dashboard.study.layers_tabs import missing_note
from mtlab.report import recordings
from mtlab.report.figures.curves import logged_metrics, plot_curves
from mtlab.report.figures.layers.evolution import plot_evolution
from mtlab.report.figures.layers.training_signals import plot_gradients, plot_temperatures


def draw_curves_tab(request: StudyRequest) -> StudyTab:
    """Draw the learning curve of each variant or group, running runs included."""
    selection = request.selection
    histories = selection.relabel(recordings.study_histories(request.data.store, selection.plan))
    logged = logged_metrics(histories)
    if not logged:
        command = components.command_line(request.summary.command)
        return StudyTab([components.empty_notice("No run of these variants has logged anything yet.", command)])
    default = request.plan["metrics"]["choose"]
    metric = request.address.one("metric", logged, default if default in logged else logged[0])
    menu = controls.dropdown("metric", "metric", {name: name for name in logged}, metric, default)
    figure = plot_curves(histories, metric, selection.styles)
    return StudyTab([request.figure(figure, f"curves-{metric.replace('/', '-')}")], [menu])


def draw_evolution_tab(request: StudyRequest) -> StudyTab:
    """Draw contributions, gradients and temperatures of one variant over training."""
    selection = request.selection
    recorded = request.data.traces(selection.plan)
    traces = selection.relabel(recorded)
    names = list(dict.fromkeys(run.label for run in traces))
    if not names:
        message = "No run of these variants has recorded its training: that is kept when a run finishes."
        notes = components.note_list([recorded.why] if recorded.why else [])
        return StudyTab([components.empty_notice(message, notes)])
    variant = request.address.one("variant", names, names[-1])
    layers = selection.relabel(request.data.layers(selection.plan))
    figures = {
        "evolution": plot_evolution(traces, variant, request.kind),
        "gradients": plot_gradients(traces, variant),
        "temperatures": plot_temperatures(layers, selection.styles),
    }
    body = [request.figure(figure, name) for name, figure in figures.items()]
    menu = controls.dropdown("variant", "variant", {name: name for name in names}, variant, default="")
    return StudyTab([*body, missing_note(recorded.why)], [menu, request.kind_switch()])
