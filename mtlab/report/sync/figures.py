"""The figures that are sent of a run and of a study, in a form that trackers can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from mtlab.recording import reader
from mtlab.recording.reader import MODALITIES, Layers, Missing, Worth
from mtlab.report import recordings
from mtlab.report.figures import theme
from mtlab.report.figures.cost import plot_cost
from mtlab.report.figures.curves import plot_curves
from mtlab.report.figures.estimates import plot_estimates
from mtlab.report.figures.layers.aggregation import plot_aggregation, plot_heatmaps
from mtlab.report.figures.layers.evolution import plot_evolution
from mtlab.report.figures.layers.similarity import plot_similarity
from mtlab.report.figures.layers.worth import plot_worth
from mtlab.report.recordings import StudyRun
from mtlab.runs.store import Store

if TYPE_CHECKING:
    from mtlab.report.study_report import StudyReport


def run_figures(store: Store, plan: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Plot what a run recorded of its layers: name → figure; empty where it recorded nothing."""
    label, folder = StudyRun(run["label"], run["seed"], run["id"]), store.run(run["id"])
    layers, trace, worth = reader.read_layers(folder), reader.read_trace(folder), recordings.run_worth(store, run["id"])
    figures: dict[str, go.Figure] = {}
    if isinstance(layers, Layers):
        figures[_kind(layers)] = plot_heatmaps({label: layers}, _kind(layers))
        if any(f"cka/{modality}" in layers.values for modality in MODALITIES):
            figures["similarity"] = plot_similarity({label: layers}, label.label)
        if isinstance(worth, Worth):
            figures["worth"] = plot_worth({label: layers}, {label: worth}, styles=theme.study_styles(plan))
    if not isinstance(trace, Missing) and trace.layers:
        kind = _kind(trace.layers[-1])
        figures[f"evolution of {kind}"] = plot_evolution({label: trace}, label.label, kind)
    return figures


def _kind(layers: Layers) -> reader.Kind:
    """Return contributions where any are recorded, else weights."""
    return "contributions" if any(layers.depths("contributions", m) for m in MODALITIES) else "weights"


def study_figures(store: Store, plan: Mapping[str, Any], report: StudyReport) -> dict[str, go.Figure]:
    """Plot the comparison of a study and the layers of all variants: name → figure."""
    styles, layers = theme.study_styles(plan), recordings.study_layers(store, plan).found
    histories = recordings.study_histories(store, plan).found
    figures = {"comparison": plot_estimates(report, styles), "cost": plot_cost(report, styles=styles)}
    if histories:
        figures["curves"] = plot_curves(histories, plan["metrics"]["choose"], styles)
    if layers:
        figures["all contributions"] = plot_aggregation(layers, styles)
        figures["all weights"] = plot_aggregation(layers, styles, "weights")
    return figures
