"""Learning curves of a study, of runs that go on too."""

from __future__ import annotations

from mtlab.dashboard import components, controls
from mtlab.dashboard.pane import StudyRequest, StudyTab
from mtlab.report import recordings


def draw_curves_tab(studied: StudyRequest) -> StudyTab:
    """Draw the curve of each variant, or group."""
    from mtlab.report.figures.curves import logged_metrics, plot_curves

    scope = studied.scope
    found = scope.grouped(recordings.study_histories(studied.look.data.store, scope.plan))
    logged = logged_metrics(found)
    if not logged:
        command = components.command_line(studied.card.command)
        return StudyTab([components.empty_notice("No run of these variants has logged anything yet.", command)])
    start = studied.plan["metrics"]["choose"]
    metric = studied.view.one("metric", logged, start if start in logged else logged[0])
    chosen = controls.dropdown("metric", "metric", {name: name for name in logged}, metric, start)
    return StudyTab(
        [studied.figure(plot_curves(found, metric, scope.styles), f"curves-{metric.replace('/', '-')}")], [chosen]
    )
