"""Is a pattern real? Agreement between seeds; and how alike consecutive layers are."""

from __future__ import annotations

from mtlab.dashboard import controls
from mtlab.dashboard.pane import StudyRequest, StudyTab, chosen_kind, kind_switch
from mtlab.dashboard.study.layers_tab import missing, nothing

MEASURES = {"cka": "CKA", "cosine": "cosine"}
SIDES = {"cross": "to the other modality", "self": "within the modality"}


def draw_seeds_tab(studied: StudyRequest) -> StudyTab:
    """Draw agreement, similarity and attention."""
    from mtlab.report.figures.layers.agreement import plot_agreement
    from mtlab.report.figures.layers.similarity import plot_consecutive, plot_similarity
    from mtlab.report.figures.layers.training_signals import plot_attention

    view, scope, data = studied.view, studied.scope, studied.look.data
    recorded, kind = data.layers(scope.plan), chosen_kind(studied.view)
    if not recorded.found:
        return StudyTab([nothing(recorded.why)])
    found = scope.grouped(recorded)
    # Of variants whatever they are grouped by: seeds of two variants need not agree.
    start = {source: trace.layers[0] for source, trace in data.traces(scope.plan).found.items() if trace.layers}
    names = list(dict.fromkeys(source.label for source in found))
    variant, measure = view.one("variant", names, names[-1]), view.one("measure", MEASURES, "cka")
    side = view.one("side", SIDES, "cross")
    figures = {
        "agreement": plot_agreement(recorded.found, start or None, scope.variants, kind),
        "consecutive": plot_consecutive(found, scope.styles, measure),  # type: ignore[arg-type] # of `MEASURES`
        "similarity": plot_similarity(found, variant, measure),  # type: ignore[arg-type]
        "attention": plot_attention(found, variant, side),  # type: ignore[arg-type] # of `SIDES`
    }
    chosen = [
        kind_switch(view),
        controls.radio_buttons("measure", "similarity", MEASURES, measure),
        controls.dropdown("variant", "alone", {name: name for name in names}, variant, default=""),
        controls.radio_buttons("side", "attention", SIDES, side),
    ]
    return StudyTab([*(studied.figure(made, name) for name, made in figures.items()), missing(recorded.why)], chosen)
