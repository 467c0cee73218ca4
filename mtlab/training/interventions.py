"""What the managers' weights are worth: validation with other weights, and without each expert.

An expert is removed from every manager of its modality at once: its weight is 0 and the rest renormalised. Managers
whose output is no mixture cannot do that: there the expert's level is set to 0 before it enters the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from mtlab.data.batches import Loader
from mtlab.encoder import Key
from mtlab.managers.base import MODALITIES, Intervention, Modality
from mtlab.managers.interventions import token_mean, uniform, without
from mtlab.model import VisionLanguageModel
from mtlab.towers import TowerKind
from mtlab.towers.base import Features
from mtlab.training.evaluate import evaluate
from mtlab.training.steps import Arithmetic, Masks, Passes

_TOWERS: dict[Modality, TowerKind] = {"text": "text", "image": "vision"}


def measure(
    model: VisionLanguageModel,
    loader: Loader,
    batch: int,
    arithmetic: Arithmetic,
    levels: Mapping[Modality, tuple[int, ...]],
    mixing: set[Modality],
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure a trained model on validation data under each intervention.

    Args:
        model: in evaluation mode.
        loader: the validation split.
        batch: examples in one forward pass.
        arithmetic: where and how precisely.
        levels: the offered levels, 1-based.
        mixing: the modalities whose managers all have weights.
        between: called before each batch.

    Returns:
        `{"metric": …, MODALITY: {"by": "weights" | "input", "uniform": value | None, "token_mean": value | None,
        "without": {LEVEL: value}}}`, token_mean: each example's weights replaced by their mean over its real tokens.

    """
    layers = model.encoder.config.cross_layers

    def value(run: Passes) -> float:
        return float(evaluate(run, loader, batch, between).outcomes.mean())

    found: dict[str, Any] = {"metric": f"val/{next(iter(model.task.metrics))}"}
    for modality in MODALITIES:
        mixes = modality in mixing
        weighed = partial(_weighed, model, arithmetic, modality, layers)
        found[modality] = {
            "by": "weights" if mixes else "input",
            "uniform": value(weighed(lambda _: uniform)) if mixes else None,
            "token_mean": value(weighed(token_mean)) if mixes else None,
            "without": {
                str(level): value(
                    weighed(partial(_without, expert)) if mixes else _blind(model, arithmetic, modality, expert)
                )
                for expert, level in enumerate(levels[modality], 1)
            },
        }
    return found


def _weighed(
    model: VisionLanguageModel,
    arithmetic: Arithmetic,
    modality: Modality,
    layers: int,
    intervention: Callable[[torch.Tensor | None], Intervention],
) -> Passes:
    """Change the weights of all managers of a modality, knowing which of its tokens are real."""

    def everywhere(masks: Masks) -> dict[Key, Intervention]:
        return {(modality, depth): intervention(masks[modality]) for depth in range(layers)}

    return Passes(model, arithmetic, intervene=everywhere)


def _without(expert: int, _mask: torch.Tensor | None) -> Intervention:
    return without(expert)


def _blind(model: VisionLanguageModel, arithmetic: Arithmetic, modality: Modality, expert: int) -> Passes:
    """Set an expert's level to 0 before it enters the model."""
    return Passes(model, arithmetic, edit={_TOWERS[modality]: partial(_zeroed, expert)})


def _zeroed(expert: int, features: Features) -> Features:
    levels = list(features.levels)
    levels[expert - 1] = torch.zeros_like(levels[expert - 1])
    return Features(tuple(levels), features.mask)
