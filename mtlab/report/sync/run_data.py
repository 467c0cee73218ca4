"""What is sent of a run: its parameters, its metrics and recorded layers step by step, and its summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mtlab import files
from mtlab.config.load import flatten
from mtlab.recording import reader
from mtlab.recording.reader import MODALITIES, Layers, Missing, Worth
from mtlab.report import recordings
from mtlab.report.frame import run_area
from mtlab.runs.results import is_test
from mtlab.runs.store import Store
from mtlab.statistics.learning import Floor, floor_metrics, judge_learning

StepMetrics = dict[int, dict[str, float]]  #: step → name → value


def run_params(store: Store, plan: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run: its resolved configuration, its place in the study, and its environment."""
    stored, state = store.config(run["id"]) or {}, store.run_state(run["id"]) or {}
    return {
        **stored.get("config", {}),
        "study": plan["study"],
        "variant": run["label"],
        "seed": run["seed"],
        "cell": run["cell"],
        "axes": run["axes"],
        "environment": {key: state[key] for key in ("device", "threads", "versions", "git") if key in state},
    }


def run_summary(store: Store, run: str, *, test: bool = True) -> dict[str, Any]:
    """Return the final numbers of a finished run: metrics of the best checkpoint, cost, layers, interventions.

    `test` says whether those of test data are among them.
    """
    result = store.result(run) or {}
    measured = result.get("metrics", {})
    metrics = {name: value for name, value in measured.items() if test or not is_test(name)}
    summary: dict[str, Any] = {**metrics, "best_step": result.get("best_step")}
    summary |= {"steps": result.get("steps"), "stopped_early": result.get("stopped_early")}
    summary |= {f"{name}_learned": learned for name, learned in learned_metrics(metrics).items()}
    summary |= {f"cost/{name}": value for name, value in flatten(result.get("cost", {}), separator="/").items()}
    layers, worth = reader.read_layers(store.run(run)), recordings.run_worth(store, run)
    if isinstance(layers, Layers):
        summary |= {f"layers/{name}": value for name, value in layer_metrics(layers).items()}
    if isinstance(worth, Worth):
        summary |= _worth_metrics(worth)
    metric, area = run_area(store, run)
    summary[f"speed/area under {metric}"] = area
    return {name: value for name, value in summary.items() if value is not None}


def learned_metrics(metrics: Mapping[str, float]) -> dict[str, bool]:
    """Say of each metric with a floor whether it is above the best blind answer, by two standard errors."""
    found = {}
    for name, value in metrics.items():
        floor, error = (metrics.get(each) for each in floor_metrics(name)) if "/" in name else (None, None)
        if floor is not None and error is not None:
            learning = judge_learning({0: value}, {0: Floor(floor, error)})
            found[name] = learning is not None and learning.complete
    return found


def _worth_metrics(worth: Worth) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for modality in MODALITIES:
        for level in worth.without.get(modality, {}):
            if (drop := worth.drop(modality, level)) is not None:
                metrics[f"worth/{modality}/level {level}"] = drop
        for name, values in (("uniform", worth.uniform), ("token mean", worth.token_mean)):
            if modality in values:
                metrics[f"worth/{modality}/with {name} weights"] = values[modality]
    for seed, by_place in worth.swapped.items():
        metrics |= {f"worth/{where}/with weights of seed {seed}": value for where, value in by_place.items()}
    return metrics


def read_step_metrics(store: Store, run: str) -> StepMetrics:
    """Join all that a run has logged so far, by step, in order.

    `metrics.jsonl` is read before `trace.safetensors`: of every step before the newest metric, both are complete.
    """
    steps: StepMetrics = {}
    for line in store.metrics(run):
        steps.setdefault(int(line["step"]), {}).update(_numbers(line))
    trace = reader.read_trace(store.run(run))
    if not isinstance(trace, Missing):
        for place, (step, layers) in enumerate(zip(trace.steps, trace.layers, strict=True)):
            norms = {f"gradient/{part}": float(values[place]) for part, values in trace.gradients.items()}
            steps.setdefault(step, {}).update(_finite({**mean_layer_metrics(layers), **norms}))
    return dict(sorted(steps.items()))


def read_complete_steps(store: Store, run: str) -> StepMetrics:
    """Read the steps of an unfinished run that are complete: those before its newest metric."""
    newest = max((int(line["step"]) for line in store.metrics(run)), default=None)
    if newest is None:
        return {}
    return {step: values for step, values in read_step_metrics(store, run).items() if step < newest}


def layer_metrics(layers: Layers) -> dict[str, float]:
    """Return the recorded numbers of a run's layers, each under a name for a tracker's chart.

    `contribution/text/layer 1/level 4`, `weight/…`, `entropy/…`, `temperature/…`,
    `attention/text/layer 1/cross` and `alike/text/layers 1 and 2` (CKA). Layers are counted from 1,
    of a language model from 0.
    """
    metrics: dict[str, float] = {}
    first = layers.first_layer
    for modality in MODALITIES:
        for kind, name in (("weights", "weight"), ("contributions", "contribution")):
            for depth in layers.depths(kind, modality):
                values = layers.values[f"{kind}/{modality}/{depth}"].tolist()
                labels = row_labels(layers, f"{kind}/{modality}/{depth}", len(values))
                where = f"{name}/{modality}/layer {depth + first}"
                metrics |= {f"{where}/{label}": value for label, value in zip(labels, values, strict=True)}
        for key, name in (("contributions_entropy", "entropy"), ("temperature", "temperature")):
            for depth in layers.depths(key, modality):
                metrics[f"{name}/{modality}/layer {depth + first}"] = float(layers.values[f"{key}/{modality}/{depth}"])
        for depth in layers.depths("attention", modality):
            for kind in ("self", "cross"):
                if (heads := layers.values.get(f"attention/{modality}/{depth}/{kind}")) is not None:
                    metrics[f"attention/{modality}/layer {depth + first}/{kind}"] = float(heads.mean())
        if (alike := layers.values.get(f"cka/{modality}")) is not None:
            places = layers.places(modality, len(alike))
            for depth, (below, above) in enumerate(pairwise(places)):
                metrics[f"alike/{modality}/layers {below} and {above}"] = float(alike[depth, depth + 1])
    return _finite(metrics)


def mean_layer_metrics(layers: Layers) -> dict[str, float]:
    """Return the contributions of each level, and their entropy, as means over the cross-modal layers.

    These few are the history of a run: `contribution/text/level 4`, `entropy/text`. All numbers of the best checkpoint
    are in its summary.
    """
    found: dict[str, list[float]] = {}
    for name, value in layer_metrics(layers).items():
        kind, modality, *rest = name.split("/")
        if kind in ("contribution", "entropy"):
            found.setdefault("/".join([kind, modality, *rest[1:]]), []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def run_started(store: Store, run: str) -> float | None:
    """Return when a run that has ended began to train, in seconds since 1970, by the times of its files; else None."""
    for name in ("result.json", "failure.json"):
        if (changed := files.modified_ns(store.run(run) / name)) is not None:
            return changed / 1e9 - max((float(row.get("seconds", 0.0)) for row in store.metrics(run)), default=0.0)
    return None


def row_labels(layers: Layers, key: str, rows: int) -> list[str]:
    """Return the labels of a manager's rows: its levels, then previous states."""
    known = layers.labels.get(key, ())
    return list(known) if len(known) == rows else [f"row {number}" for number in range(1, rows + 1)]


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    held = ((name, value) for name, value in line.items() if name != "step")
    return _finite({name: float(value) for name, value in held if isinstance(value, int | float)})


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
