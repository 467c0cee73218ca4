"""Files of recorded layers as finished runs leave them, with numbers of our choice. Written by numpy, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from mtlab import checksums

MODALITIES = ("text", "image")
LEVELS = {"text": [4, 5, 6], "image": [2, 3, 4, 5]}
STEPS = [0, 1, 2, 5, 10, 20, 50, 100]
WORDS = ("what", "colour", "is", "the", "ring", "?")


def write(path: Path, values: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write arrays as `mtlab.runs.checkpoints.save` does."""
    held = {name: np.array(value, order="C") for name, value in values.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(held, path, checksums.safetensors_metadata(about))
    checksums.embed(path)


def layers(
    seed: int = 0,
    depths: int = 3,
    levels: Mapping[str, Sequence[int]] = LEVELS,
    sharp: float = 1.0,
    pattern: int = 0,
    unoffered: Mapping[str, Sequence[int]] = {},
) -> dict[str, Any]:
    """Make all that `layers.safetensors` holds, float32: a pattern of its own, with a little noise of the seed."""
    shape, noise = np.random.default_rng(pattern), np.random.default_rng([pattern, seed])
    values: dict[str, Any] = {}
    for modality in MODALITIES:
        offered = np.array([level not in unoffered.get(modality, ()) for level in levels[modality]])
        number = len(offered)
        for depth in range(depths):
            previous = int(depth > 0)
            scores = sharp * shape.normal(size=number) + 0.2 * noise.normal(size=number)
            weights = np.where(offered, np.exp(scores) / np.exp(scores)[offered].sum(), np.nan)
            shares = np.concatenate([weights * (0.6 if previous else 1.0), [0.4] * previous])
            place = f"{modality}/{depth}"
            values[f"weights/{place}"] = np.concatenate([weights, [1.0] * previous])
            values[f"contributions/{place}"] = shares
            for kind in ("weights", "contributions"):
                values[f"{kind}_tokens/{place}"] = 0.1 * shares
                values[f"{kind}_examples/{place}"] = 0.05 * shares
                if offered.sum() > 1:
                    entropy = -np.nansum(weights * np.log(weights)) / np.log(offered.sum())
                    values[f"{kind}_entropy/{place}"] = entropy
            values[f"temperature/{place}"] = 1.0 - 0.1 * depth
            values[f"attention/{place}/self"] = 0.5 + 0.3 * noise.random(2)
            values[f"attention/{place}/cross"] = 0.5 + 0.3 * noise.random(2)
        far = np.abs(np.subtract.outer(np.arange(depths), np.arange(depths)))
        values[f"cosine/{modality}"] = 1 - 0.2 * far
        values[f"cka/{modality}"] = 1 - 0.1 * far
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def about(values: Mapping[str, Any], levels: Mapping[str, Sequence[int]] = LEVELS, **more: Any) -> dict[str, Any]:
    """Make the metadata of recorded layers."""
    labels = {}
    for name, value in values.items():
        kind, modality = name.split("/")[:2]
        if kind in ("weights", "contributions"):
            experts = [f"level {level}" for level in levels[modality]]
            labels[name] = experts + [f"previous {number + 1}" for number in range(value.shape[-1] - len(experts))]
    offered = {key: list(value) for key, value in levels.items()}
    return {"levels": offered, "labels": labels, "examples": 512, "first_layer": 1, **more}


def write_layers(folder: Path, seed: int = 0, **how: Any) -> Path:
    """Write `layers.safetensors`."""
    values = layers(seed, **how)
    write(folder / "layers.safetensors", values, about(values, how.get("levels", LEVELS), step=80))
    return folder / "layers.safetensors"


def write_trace(folder: Path, seed: int = 0, **how: Any) -> Path:
    """Write `trace.safetensors`: from all levels alike to `layers`."""
    ends = [layers(seed, **{**how, "sharp": how.get("sharp", 1.0) * place / 7}) for place in range(len(STEPS))]
    values: dict[str, Any] = {name: np.stack([each[name] for each in ends]) for name in ends[0]}
    made = about(values, how.get("levels", LEVELS))
    values["steps"] = np.array(STEPS, np.int64)
    for number, part in enumerate(("managers", "cross", "head")):
        values[f"gradient/{part}"] = np.array(
            [np.nan, *np.geomspace(1, 0.1, len(STEPS) - 1) * (number + 1)], np.float32
        )
    write(folder / "trace.safetensors", values, {**made, "examples": 64})
    return folder / "trace.safetensors"


def write_tokens(folder: Path, examples: int = 4, grid: Mapping[str, int] | None = None, **how: Any) -> Path:
    """Write `tokens.safetensors`: words of one to six tokens, and a grid of 4 × 4 patches after one prefix token."""
    grid = {"rows": 4, "columns": 4, "prefix": 1} if grid is None else grid
    whole, dice = layers(**how), np.random.default_rng(0)
    lengths = {"text": len(WORDS) + 1, "image": grid["rows"] * grid["columns"] + grid["prefix"]}
    values: dict[str, Any] = {}
    for name, rows in whole.items():
        kind, modality, *_ = name.split("/")
        if kind in ("weights", "contributions"):
            noise = dice.dirichlet(np.ones(len(rows)), size=(examples, lengths[modality])).transpose(0, 2, 1)
            values[name] = (0.5 * rows[None, :, None] + 0.5 * noise).astype(np.float32)
    real = [len(WORDS) - place % 3 for place in range(examples)]
    values["mask/text"] = np.arange(lengths["text"])[None] < np.array(real)[:, None]
    told = [
        {
            "id": f"val/{place}/0",
            "family": ("colour", "count")[place % 2],
            "text": " ".join(WORDS[:number]),
            "image": f"val/{place}",
            "tokens": list(WORDS[:number]),
            "truth": "red",
            "prediction": ("red", "blue")[place % 2],
        }
        for place, number in enumerate(real)
    ]
    made = about(values, how.get("levels", LEVELS), examples=told, grid=dict(grid), step=80)
    write(folder / "tokens.safetensors", values, made)
    return folder / "tokens.safetensors"


def interventions(levels: Mapping[str, Sequence[int]] = LEVELS, accuracy: float = 0.7, seed: int = 0) -> dict[str, Any]:
    """Make what `result.json` holds of them."""
    dice = np.random.default_rng(seed)
    measured: dict[str, Any] = {"metric": "val/accuracy"}
    for modality in MODALITIES:
        without = {str(level): round(accuracy - 0.3 * float(dice.random()), 4) for level in levels[modality]}
        measured[modality] = {"by": "weights", "uniform": accuracy - 0.1, "token_mean": accuracy - 0.02}
        measured[modality]["without"] = without
        measured[modality]["families"] = {
            level: {"colour": round(value + 0.1, 4), "count": round(value - 0.2, 4)} for level, value in without.items()
        }
    return measured
