"""Learning curves of a study, of runs that go on too."""

from __future__ import annotations

from mtlab.dashboard import controls, parts
from mtlab.dashboard.pane import Pane, Studied
from mtlab.report import gathered


def draw(studied: Studied) -> Pane:
    """Draw the curve of each variant, or group."""
    from mtlab.report.figures.curves import curves, metrics

    scope = studied.scope
    found = scope.grouped(gathered.histories(studied.look.data.store, scope.plan))
    logged = metrics(found)
    if not logged:
        command = parts.command(studied.card.command)
        return Pane([parts.empty("No run of these variants has logged anything yet.", command)])
    start = studied.plan["metrics"]["choose"]
    metric = studied.view.one("metric", logged, start if start in logged else logged[0])
    chosen = controls.choice("metric", "metric", {name: name for name in logged}, metric, start)
    return Pane([studied.figure(curves(found, metric, scope.styles), f"curves-{metric.replace('/', '-')}")], [chosen])
