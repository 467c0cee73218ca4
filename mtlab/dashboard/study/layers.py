"""Which levels of the towers each variant draws on, how sharply, and what they are worth."""

from __future__ import annotations

from dash import dcc, html

from mtlab.dashboard import parts
from mtlab.dashboard.pane import Pane, Studied, kind_of, kind_switch
from mtlab.dashboard.views import address
from mtlab.report import gathered


def draw(studied: Studied) -> Pane:
    """Draw what finished runs recorded of their layers."""
    from mtlab.report.figures.layers.aggregation import aggregation
    from mtlab.report.figures.layers.heatmaps import heatmaps
    from mtlab.report.figures.layers.specialisation import entropy, specialisation
    from mtlab.report.figures.layers.worth import worth

    scope, data, kind = studied.scope, studied.look.data, kind_of(studied.view)
    recorded = data.layers(scope.plan)
    if not recorded.found:
        return Pane([nothing(recorded.why)], [kind_switch(studied.view)])
    found = scope.grouped(recorded)
    worths = scope.grouped(gathered.worths(data.store, scope.plan))
    figures = {
        "aggregation": aggregation(found, scope.styles, kind),
        "worth": worth(found, worths, scope.styles),
        "heatmaps": heatmaps(found, kind),
        "entropy": entropy(found, scope.styles, kind),
        "specialisation": specialisation(found, scope.styles, kind),
    }
    explorer = dcc.Link("See it word by word and patch by patch", href=address("tokens", study=studied.card.name))
    body = [html.P(explorer), *(studied.figure(made, name) for name, made in figures.items())]
    return Pane([*body, missing(recorded.why)], [kind_switch(studied.view)])


def nothing(why: str | None) -> parts.Part:
    """Say why there is nothing to see of layers."""
    return parts.empty(
        "No run of these variants has recorded which layers it used: that happens when a run finishes.",
        parts.notes([why] if why else []),
        parts.hint("It is on unless `record.layers: false` was written. `mtlab status` tells how far runs are:"),
        parts.command("mtlab status"),
    )


def missing(why: str | None) -> parts.Part:
    """Say which runs a figure does not show."""
    return parts.notes([f"Not shown: {why}"] if why else [])
