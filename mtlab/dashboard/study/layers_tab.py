"""Which levels of the towers each variant draws on, how sharply, and what they are worth."""

from __future__ import annotations

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.address import page_href
from mtlab.dashboard.pane import StudyRequest, StudyTab, chosen_kind, kind_switch
from mtlab.report import recordings


def draw_layers_tab(studied: StudyRequest) -> StudyTab:
    """Draw what finished runs recorded of their layers."""
    from mtlab.report.figures.layers.aggregation import plot_aggregation
    from mtlab.report.figures.layers.heatmaps import plot_heatmaps
    from mtlab.report.figures.layers.specialisation import plot_entropy, plot_specialisation
    from mtlab.report.figures.layers.worth import plot_worth

    scope, data, kind = studied.scope, studied.look.data, chosen_kind(studied.view)
    recorded = data.layers(scope.plan)
    if not recorded.found:
        return StudyTab([nothing(recorded.why)], [kind_switch(studied.view)])
    found = scope.grouped(recorded)
    worths = scope.grouped(recordings.study_worths(data.store, scope.plan))
    figures = {
        "aggregation": plot_aggregation(found, scope.styles, kind),
        "worth": plot_worth(found, worths, scope.styles),
        "heatmaps": plot_heatmaps(found, kind),
        "entropy": plot_entropy(found, scope.styles, kind),
        "specialisation": plot_specialisation(found, scope.styles, kind),
    }
    explorer = dcc.Link("See it word by word and patch by patch", href=page_href("tokens", study=studied.card.name))
    body = [html.P(explorer), *(studied.figure(made, name) for name, made in figures.items())]
    return StudyTab([*body, missing(recorded.why)], [kind_switch(studied.view)])


def nothing(why: str | None) -> components.Component:
    """Say why there is nothing to see of layers."""
    return components.empty_notice(
        "No run of these variants has recorded which layers it used: that happens when a run finishes.",
        components.note_list([why] if why else []),
        components.quiet_text(
            "It is on unless `record.layers: false` was written. `mtlab status` tells how far runs are:"
        ),
        components.command_line("mtlab status"),
    )


def missing(why: str | None) -> components.Component:
    """Say which runs a figure does not show."""
    return components.note_list([f"Not shown: {why}"] if why else [])
