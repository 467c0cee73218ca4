"""What a run logged, step by step, as the store holds it: metrics and recorded layers joined. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mtlab.recording import reader
from mtlab.recording.reader import MODALITIES, Layers, Missing
from mtlab.runs.store import Store

StepMetrics = dict[int, dict[str, float]]  #: step → name → value


def read_step_metrics(store: Store, run: str) -> StepMetrics:
    """Join all that a run has logged so far, by step, in order.

    `metrics.jsonl` is read before `read_trace.safetensors`: of every step before the newest metric, both are complete.
    """
    found: StepMetrics = {}
    for line in store.metrics(run):
        found.setdefault(int(line["step"]), {}).update(_numbers(line))
    trace = reader.read_trace(store.run(run))
    if not isinstance(trace, Missing):
        for place, (step, layers) in enumerate(zip(trace.steps, trace.layers, strict=True)):
            norms = {f"gradient/{part}": float(values[place]) for part, values in trace.gradients.items()}
            found.setdefault(step, {}).update(_finite({**layer_metrics(layers), **norms}))
    return dict(sorted(found.items()))


def read_complete_steps(store: Store, run: str) -> StepMetrics:
    """Give the rows of a run that goes on which nothing will be added to: those before the newest metric."""
    newest = max((int(line["step"]) for line in store.metrics(run)), default=None)
    if newest is None:
        return {}
    return {step: values for step, values in read_step_metrics(store, run).items() if step < newest}


def layer_metrics(layers: Layers) -> dict[str, float]:
    """Name the recorded numbers of a run's layers, so that a tracker's charts can show each.

    `contribution/text/layer 1/level 4` (or `weight/…` of managers that are no sum), `entropy/…`, `temperature/…`,
    `attention/text/layer 1/cross` and `alike/text/layers 1 and 2` (CKA). Layers are counted from 1.
    """
    found: dict[str, float] = {}
    for modality in MODALITIES:
        for kind, name in (("weights", "weight"), ("contributions", "contribution")):
            for depth in layers.depths(kind, modality):
                values = layers.values[f"{kind}/{modality}/{depth}"].tolist()
                labels = row_labels(layers, f"{kind}/{modality}/{depth}", len(values))
                where = f"{name}/{modality}/layer {depth + 1}"
                found |= {f"{where}/{label}": value for label, value in zip(labels, values, strict=True)}
        for key, name in (("contributions_entropy", "entropy"), ("temperature", "temperature")):
            for depth in layers.depths(key, modality):
                found[f"{name}/{modality}/layer {depth + 1}"] = float(layers.values[f"{key}/{modality}/{depth}"])
        for depth in layers.depths("attention", modality):
            for kind in ("self", "cross"):
                if (heads := layers.values.get(f"attention/{modality}/{depth}/{kind}")) is not None:
                    found[f"attention/{modality}/layer {depth + 1}/{kind}"] = float(heads.mean())
        if (alike := layers.values.get(f"cka/{modality}")) is not None:
            for depth in range(len(alike) - 1):
                found[f"alike/{modality}/layers {depth + 1} and {depth + 2}"] = float(alike[depth, depth + 1])
    return _finite(found)


def row_labels(layers: Layers, key: str, rows: int) -> list[str]:
    """Name the rows of an array of a manager: its levels, then previous states."""
    known = layers.labels.get(key, ())
    return list(known) if len(known) == rows else [f"row {number}" for number in range(1, rows + 1)]


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    held = ((name, value) for name, value in line.items() if name != "step")
    return _finite({name: float(value) for name, value in held if isinstance(value, int | float)})


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Go through nested plain data: `a/b` → value, without what is null."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        elif value is not None:
            yield f"{prefix}{key}", value
