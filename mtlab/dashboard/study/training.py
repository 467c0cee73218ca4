"""How one variant came to its layers: contributions, gradients and temperatures over training."""

from __future__ import annotations

from mtlab.dashboard import controls, parts
from mtlab.dashboard.pane import Pane, Studied, kind_of, kind_switch
from mtlab.dashboard.study.layers import missing


def draw(studied: Studied) -> Pane:
    """Draw what finished runs recorded while they were trained."""
    from mtlab.report.figures.layers.evolution import evolution
    from mtlab.report.figures.layers.training_signals import gradients, temperatures

    scope, kind = studied.scope, kind_of(studied.view)
    recorded = studied.look.data.traces(scope.plan)
    found = scope.grouped(recorded)
    names = list(dict.fromkeys(source.label for source in found))
    if not names:
        told = "No run of these variants has recorded its training: that is kept when a run finishes."
        return Pane([parts.empty(told, parts.notes([recorded.why] if recorded.why else []))])
    variant = studied.view.one("variant", names, names[-1])
    layers = scope.grouped(studied.look.data.layers(scope.plan))
    figures = {
        "evolution": evolution(found, variant, kind),
        "gradients": gradients(found, variant),
        "temperatures": temperatures(layers, scope.styles),
    }
    body = [studied.figure(made, name) for name, made in figures.items()]
    options = {name: name for name in names}
    chosen = [controls.choice("variant", "variant", options, variant, default=""), kind_switch(studied.view)]
    return Pane([*body, missing(recorded.why)], chosen)
