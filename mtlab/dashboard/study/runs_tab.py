"""The tab `Runs`: the state of each run of a study, and the ticked ones side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import html

from mtlab.config.load import flatten
from mtlab.dashboard import components, controls, report_tables
from mtlab.dashboard.components import CONDITIONS, Component, TableColumn
from mtlab.dashboard.page import StudyRequest, StudyTab
from mtlab.dashboard.summaries import CONDITION_ORDER, RunSummary
from mtlab.recording import reader
from mtlab.report.figures import theme
from mtlab.report.figures.curves import plot_curves
from mtlab.report.figures.layers.aggregation import plot_aggregation
from mtlab.report.formats import numbers
from mtlab.report.recordings import StudyRun
from mtlab.runs.results import is_test
from mtlab.runs.store import is_sweep

PAGE_SIZE = 100  #: runs on a page of the table


def draw_runs_tab(request: StudyRequest) -> StudyTab:
    """Draw the table of runs, and above it the ticked ones side by side."""
    address, all_runs = request.address, request.summary.runs
    cells = {row["cell"] for row in request.selection.rows}
    wanted = address.many("state", CONDITION_ORDER)
    known = [name for name in CONDITION_ORDER if name in request.summary.counts or name in wanted]
    runs = [run for run in all_runs if run.cell in cells and (not wanted or run.condition in wanted)]
    ticked_ids = address.many("runs", (run.id for run in all_runs))
    ticked = [run for run in all_runs if run.id in ticked_ids]
    bar = [controls.multi_dropdown("state", "state", {name: CONDITIONS[name].word for name in known}, wanted)]
    bar += [request.kind_switch()] if ticked else []
    body: list[Component] = [_side_by_side(request, ticked)] if ticked else []
    if not runs:
        return StudyTab([*body, components.empty_notice("No run of these variants is in that state.")], bar)
    runs.sort(key=lambda run: request.selection.rank(run.cell))
    pages = -(-len(runs) // PAGE_SIZE)
    page = min(components.page_number(address), pages)
    shown = runs[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    title = "Runs" if wanted else "All runs"
    return StudyTab(
        [
            *body,
            components.section(
                title, components.page_links(address, page, pages, "Pages of runs"), _table(request, shown)
            ),
        ],
        bar,
    )


def _table(request: StudyRequest, runs: Sequence[RunSummary]) -> Component:
    ticked, metric = set(request.address.chosen.get("runs", ())), request.summary.metric
    steps = [f"{run.step:,} of {run.steps:,}" if run.steps else f"{run.step:,}" for run in runs]
    columns = [
        TableColumn("side by side", [controls.checkbox("runs", run.id, run.title, run.id in ticked) for run in runs]),
        TableColumn("run", [_link(request, run) for run in runs], heads=True),
        TableColumn("state", [components.run_badge(run) for run in runs]),
        TableColumn("step", steps, numeric=True),
        TableColumn(f"best {metric}", [numbers.format_score(run.metric, metric) for run in runs], numeric=True),
        TableColumn("last change", [components.time_element(run.changed) for run in runs]),
        TableColumn("host", [run.host or "" for run in runs]),
        TableColumn("problem", [html.Span(run.problem, className="problem") if run.problem else "" for run in runs]),
    ]
    group = request.selection.group
    groups = None if group is None else [f"{group}: {request.selection.names[run.cell]}" for run in runs]
    return components.data_table([column for column in columns if column.filled], "Runs of the study", groups=groups)


def _link(request: StudyRequest, run: RunSummary) -> Component:
    style = request.selection.variants.get(run.label)
    link = components.run_link(run.id, run.title, request.summary.name)
    return [components.swatch(style.colour) if style else None, link]


def _side_by_side(request: StudyRequest, runs: Sequence[RunSummary]) -> Component:
    """Draw results, curves, layers and differing settings of some runs, each run in the colour of its variant."""
    data = request.data
    labels = {run.id: StudyRun(run.title, run.seed, run.id) for run in runs}
    styles = theme.run_styles(request.selection.variants, ((run.title, run.label) for run in runs))
    histories = {label: rows for run, label in labels.items() if (rows := data.store.metrics(run))}
    read = {label: data.finished(run, reader.LAYERS, reader.read_layers) for run, label in labels.items()}
    layers = {label: each for label, each in read.items() if isinstance(each, reader.Layers)}
    missing = [f"{label.label}: {each.why}" for label, each in read.items() if isinstance(each, reader.Missing)]
    figures = [request.figure(plot_curves(histories, request.summary.metric, styles), "side-curves")]
    if layers:
        figures.append(request.figure(plot_aggregation(layers, styles, request.kind), "side-layers"))
    names = {run.id: run.title for run in runs}
    return components.section(
        "Side by side",
        _results(request, names),
        *figures,
        components.note_list([f"Layers not shown: {each}" for each in missing]),
        html.H3("Settings in which they differ"),
        _settings(request, names),
    )


def _results(request: StudyRequest, names: Mapping[str, str]) -> Component:
    results = {run: (request.data.store.result(run) or {}).get("metrics", {}) for run in names}
    metrics = list(dict.fromkeys(metric for each in results.values() for metric in each if metric.count("/") == 1))
    if is_sweep(request.plan):  # a search sees no test data
        metrics = [metric for metric in metrics if not is_test(metric)]
    if not metrics:
        return components.empty_notice("None of these runs is finished: there are curves, but no results yet.")
    columns = [TableColumn("at the best checkpoint", metrics, heads=True)]
    columns += [
        TableColumn(name, [numbers.format_score(results[run].get(metric), metric) for metric in metrics], numeric=True)
        for run, name in names.items()
    ]
    return components.data_table(columns, "Results of the runs side by side")


def _settings(request: StudyRequest, names: Mapping[str, str]) -> Component:
    configs = {name: request.data.store.config(run) for run, name in names.items()}
    known = {name: flatten(config["config"]) for name, config in configs.items() if config is not None}
    if len(known) < 2:
        return components.empty_notice("Tick a second run that has been started, to see in what they differ.")
    return report_tables.config_differences(known)
