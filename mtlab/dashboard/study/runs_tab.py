"""The runs of a study: how each stands, and those that are ticked side by side."""

from __future__ import annotations

from collections.abc import Sequence

from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.components import CONDITIONS, Component, TableColumn
from mtlab.dashboard.pages import side_by_side
from mtlab.dashboard.pane import StudyRequest, StudyTab, kind_switch
from mtlab.dashboard.summaries import ORDER, RunSummary
from mtlab.report.formats import numbers

PAGE = 100  #: runs on a page of the table


def draw_runs_tab(studied: StudyRequest) -> StudyTab:
    """Draw the table of runs, and above it those that are ticked side by side."""
    view, cells = studied.view, {row["cell"] for row in studied.scope.rows}
    wanted = view.many("state", ORDER)
    states = {name: CONDITIONS[name][1] for name in ORDER if name in studied.card.counts or name in wanted}
    runs = [run for run in studied.card.runs if run.cell in cells and (not wanted or run.condition in wanted)]
    ticked = [run for run in studied.card.runs if run.id in view.many("runs", (each.id for each in studied.card.runs))]
    chosen = [controls.multi_dropdown("state", "state", states, wanted), *([kind_switch(view)] if ticked else [])]
    body: list[Component] = [side_by_side.draw_runs_side_by_side(studied, ticked)] if ticked else []
    if not runs:
        return StudyTab([*body, components.empty_notice("No run of these variants is in that state.")], chosen)
    runs.sort(key=lambda run: studied.scope.rank(run.cell))
    pages = -(-len(runs) // PAGE)
    at = min(max(int(view.text("page")) if view.text("page").isdecimal() else 1, 1), pages)
    shown = runs[(at - 1) * PAGE : at * PAGE]
    body.append(
        components.section("All runs" if not wanted else "Runs", _pages(studied, at, pages), _table(studied, shown))
    )
    return StudyTab(body, chosen)


def _table(studied: StudyRequest, runs: Sequence[RunSummary]) -> Component:
    ticked, metric = set(studied.view.chosen.get("runs", ())), studied.card.metric
    columns = [
        TableColumn("side by side", [controls.checkbox("runs", run.id, _name(run), run.id in ticked) for run in runs]),
        TableColumn("run", [_link(studied, run) for run in runs], heads=True),
        TableColumn("state", [components.run_badge(run) for run in runs]),
        TableColumn(
            "step", [f"{run.step:,} of {run.steps:,}" if run.steps else f"{run.step:,}" for run in runs], numeric=True
        ),
        TableColumn(f"best {metric}", [numbers.format_score(run.metric, metric) for run in runs], numeric=True),
        TableColumn("last change", [components.time_element(run.changed) for run in runs]),
        TableColumn("host", [run.host or "" for run in runs]),
        TableColumn("problem", [html.Span(run.problem, className="problem") if run.problem else "" for run in runs]),
    ]
    group = studied.scope.group
    groups = None if group is None else [f"{group}: {studied.scope.names[run.cell]}" for run in runs]
    return components.data_table([column for column in columns if column.says], "Runs of the study", groups=groups)


def _link(studied: StudyRequest, run: RunSummary) -> Component:
    style = studied.scope.variants.get(run.label)
    return [
        components.swatch(style.colour) if style else None,
        components.run_link(run.id, _name(run), studied.card.name),
    ]


def _name(run: RunSummary) -> str:
    return f"{run.label}, seed {run.seed}"


def _pages(studied: StudyRequest, at: int, pages: int) -> Component:
    if pages < 2:
        return None
    links: list[Component] = []
    for name, number in (("previous", at - 1), ("next", at + 1)):
        if 1 <= number <= pages:
            links.append(dcc.Link(f"{name} page", href=studied.view.changed({"page": str(number)}).href))
    return html.Nav(
        [html.Span(f"page {at} of {pages}"), *links], className="pages", **components.aria_label("Pages of runs")
    )
