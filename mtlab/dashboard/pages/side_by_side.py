"""Runs side by side: results, curves, layers, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import html

from mtlab.dashboard import components, tables
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.pane import StudyRequest, chosen_kind
from mtlab.dashboard.summaries import RunSummary
from mtlab.recording import reader
from mtlab.report.figures import theme
from mtlab.report.formats import numbers
from mtlab.report.recordings import StudyRun


def draw_runs_side_by_side(studied: StudyRequest, runs: Sequence[RunSummary]) -> Component:
    """Draw them, each in a colour of its own."""
    from mtlab.report.figures.curves import plot_curves
    from mtlab.report.figures.layers.aggregation import plot_aggregation

    data = studied.look.data
    sources = {run.id: StudyRun(f"{run.label}, seed {run.seed}", run.seed, run.id) for run in runs}
    styles = theme.assign_styles(source.label for source in sources.values())
    histories = {source: rows for run, source in sources.items() if (rows := data.store.metrics(run))}
    read = {source: data.layers_of(run) for run, source in sources.items()}
    layers = {source: each for source, each in read.items() if isinstance(each, reader.Layers)}
    why = [f"{source.label}: {each.why}" for source, each in read.items() if isinstance(each, reader.Missing)]
    figures = [studied.figure(plot_curves(histories, studied.card.metric, styles), "side-curves")]
    if layers:
        figures.append(studied.figure(plot_aggregation(layers, styles, chosen_kind(studied.view)), "side-layers"))
    names = {run: source.label for run, source in sources.items()}
    return components.section(
        "Side by side",
        _results(studied, names),
        *figures,
        components.note_list([f"Layers not shown: {each}" for each in why]),
        html.H3("Settings in which they differ"),
        _settings(studied, names),
    )


def _results(studied: StudyRequest, names: Mapping[str, str]) -> Component:
    results = {run: (studied.look.data.store.result(run) or {}).get("metrics", {}) for run in names}
    metrics = list(dict.fromkeys(metric for found in results.values() for metric in found if metric.count("/") == 1))
    if not metrics:
        return components.empty_notice("None of these runs is finished: there are curves, but no results yet.")
    columns = [TableColumn("at the best checkpoint", metrics, heads=True)]
    columns += [
        TableColumn(name, [numbers.format_score(results[run].get(metric), metric) for metric in metrics], numeric=True)
        for run, name in names.items()
    ]
    return components.data_table(columns, "Results of the runs side by side")


def _settings(studied: StudyRequest, names: Mapping[str, str]) -> Component:
    configs = {name: studied.look.data.store.config(run) for run, name in names.items()}
    there = {name: tables.flat(config["config"]) for name, config in configs.items() if config is not None}
    if len(there) < 2:
        return components.empty_notice("Tick a second run that has been started, to see in what they differ.")
    return tables.config_differences(there)
