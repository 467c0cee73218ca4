"""How one variant came to its layers: contributions, gradients and temperatures over training."""

from __future__ import annotations

from mtlab.dashboard import components, controls
from mtlab.dashboard.pane import StudyRequest, StudyTab, chosen_kind, kind_switch
from mtlab.dashboard.study.layers_tab import missing


def draw_training_tab(studied: StudyRequest) -> StudyTab:
    """Draw what finished runs recorded while they were trained."""
    from mtlab.report.figures.layers.evolution import plot_evolution
    from mtlab.report.figures.layers.training_signals import plot_gradients, plot_temperatures

    scope, kind = studied.scope, chosen_kind(studied.view)
    recorded = studied.look.data.traces(scope.plan)
    found = scope.grouped(recorded)
    names = list(dict.fromkeys(source.label for source in found))
    if not names:
        told = "No run of these variants has recorded its training: that is kept when a run finishes."
        return StudyTab([components.empty_notice(told, components.note_list([recorded.why] if recorded.why else []))])
    variant = studied.view.one("variant", names, names[-1])
    layers = scope.grouped(studied.look.data.layers(scope.plan))
    figures = {
        "evolution": plot_evolution(found, variant, kind),
        "gradients": plot_gradients(found, variant),
        "temperatures": plot_temperatures(layers, scope.styles),
    }
    body = [studied.figure(made, name) for name, made in figures.items()]
    options = {name: name for name in names}
    chosen = [controls.dropdown("variant", "variant", options, variant, default=""), kind_switch(studied.view)]
    return StudyTab([*body, missing(recorded.why)], chosen)
