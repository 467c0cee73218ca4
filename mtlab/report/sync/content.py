"""What is sent of a finished run and of a whole study: parameters, final numbers and figures. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtlab.recording import reader
from mtlab.recording.reader import MODALITIES, Layers, Missing, Worth
from mtlab.report import recordings
from mtlab.report.figures import theme
from mtlab.report.recordings import StudyRun
from mtlab.report.sync.step_metrics import flat, layer_metrics
from mtlab.runs.store import Store

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mtlab.report.study_report import StudyReport


def run_params(store: Store, plan: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a run: its whole resolved configuration, what it is in the study, and what it ran on."""
    held, state = store.config(run["id"]) or {}, store.run_state(run["id"]) or {}
    return {
        **held.get("config", {}),
        "study": plan["study"],
        "variant": run["label"],
        "seed": run["seed"],
        "cell": run["cell"],
        "axes": run["axes"],
        "environment": {key: state[key] for key in ("device", "threads", "versions", "git") if key in state},
    }


def run_summary(store: Store, run: str) -> dict[str, Any]:
    """Give the final numbers of a finished run: metrics of the best checkpoint, cost, layers, interventions."""
    result = store.result(run) or {}
    found: dict[str, Any] = {**result.get("metrics", {}), "best_step": result.get("best_step")}
    found |= {"steps": result.get("steps"), "stopped_early": result.get("stopped_early")}
    found |= {f"cost/{name}": value for name, value in flat(result.get("cost", {}))}
    layers, worth = reader.read_layers(store.run(run)), recordings.run_worth(store, run)
    if isinstance(layers, Layers):
        found |= {f"layers/{name}": value for name, value in layer_metrics(layers).items()}
    if isinstance(worth, Worth):
        found |= _worth(worth)
    return {name: value for name, value in found.items() if value is not None}


def _worth(worth: Worth) -> dict[str, float]:
    found: dict[str, float] = {}
    for modality in MODALITIES:
        for level in worth.without.get(modality, {}):
            if (drop := worth.drop(modality, level)) is not None:
                found[f"worth/{modality}/level {level}"] = drop
        for name, values in (("uniform", worth.uniform), ("token mean", worth.token_mean)):
            if modality in values:
                found[f"worth/{modality}/with {name} weights"] = values[modality]
    for seed, by_place in worth.swapped.items():
        found |= {f"worth/{where}/with weights of seed {seed}": value for where, value in by_place.items()}
    return found


def run_figures(store: Store, plan: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Draw what a run recorded of its layers, by name; empty where it recorded nothing."""
    from mtlab.report.figures.layers.evolution import plot_evolution
    from mtlab.report.figures.layers.heatmaps import plot_heatmaps
    from mtlab.report.figures.layers.similarity import plot_similarity
    from mtlab.report.figures.layers.worth import plot_worth as draw_worth

    source, folder = StudyRun(run["label"], run["seed"], run["id"]), store.run(run["id"])
    layers, trace, worth = reader.read_layers(folder), reader.read_trace(folder), recordings.run_worth(store, run["id"])
    drawn: dict[str, go.Figure] = {}
    if isinstance(layers, Layers):
        drawn["layers"] = plot_heatmaps({source: layers}, _kind(layers))
        if any(f"cka/{modality}" in layers.values for modality in MODALITIES):
            drawn["similarity"] = plot_similarity({source: layers}, source.label)
        if isinstance(worth, Worth):
            drawn["worth"] = draw_worth({source: layers}, {source: worth}, styles=theme.study_styles(plan))
    if not isinstance(trace, Missing) and trace.layers:
        drawn["evolution"] = plot_evolution({source: trace}, source.label, _kind(trace.layers[-1]))
    return drawn


def _kind(layers: Layers) -> reader.Kind:
    """Choose contributions where there are any."""
    return "contributions" if any(layers.depths("contributions", m) for m in MODALITIES) else "weights"


def study_figures(store: Store, plan: Mapping[str, Any], report: StudyReport) -> dict[str, go.Figure]:
    """Draw the comparison, and which layers all variants use, by name."""
    from mtlab.report.figures.cost import plot_cost
    from mtlab.report.figures.curves import plot_curves
    from mtlab.report.figures.estimates import plot_estimates
    from mtlab.report.figures.layers.aggregation import plot_aggregation

    styles, layers = theme.study_styles(plan), recordings.study_layers(store, plan).found
    histories = recordings.study_histories(store, plan).found
    drawn = {"comparison": plot_estimates(report, styles), "cost": plot_cost(report, styles=styles)}
    if histories:
        drawn["curves"] = plot_curves(histories, plan["metrics"]["choose"], styles)
    if layers:
        drawn["layers"] = plot_aggregation(layers, styles)
        drawn["weights"] = plot_aggregation(layers, styles, "weights")
    return drawn
