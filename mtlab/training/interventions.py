"""What the managers' weights are worth: validation with other weights, and without each expert.

An expert is removed from every manager of its modality at once: its weight is 0 and the rest renormalised. Managers
whose output is no mixture cannot do that: there the expert's level is set to 0 before it enters the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from mtlab.data.batches import Batch, Loader
from mtlab.managers.base import MODALITIES, Intervention, Modality
from mtlab.managers.interventions import token_mean, uniform, without
from mtlab.model import VisionLanguageModel
from mtlab.towers.base import Features
from mtlab.training.evaluate import evaluate
from mtlab.training.steps import Arithmetic, logits

Answer = Callable[[Batch], torch.Tensor]  #: a batch → logits [B, A]


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
    metric = next(iter(model.task.metrics))

    def value(answer: Answer) -> float:
        judged = evaluate(answer, model.task, loader, batch, arithmetic.device, between)
        return float(judged.scores[metric].mean())

    found: dict[str, Any] = {"metric": f"val/{metric}"}
    for modality in MODALITIES:
        mixes = modality in mixing
        remove = _without_weight if mixes else _without_input
        found[modality] = {
            "by": "weights" if mixes else "input",
            "uniform": value(_intervened(model, arithmetic, modality, uniform)) if mixes else None,
            "token_mean": value(partial(_by_token_mean, model, arithmetic, modality)) if mixes else None,
            "without": {
                str(level): value(remove(model, arithmetic, modality, expert))
                for expert, level in enumerate(levels[modality], 1)
            },
        }
    return found


def _intervened(
    model: VisionLanguageModel, arithmetic: Arithmetic, modality: Modality, intervention: Intervention
) -> Answer:
    return partial(logits, model, arithmetic=arithmetic, intervene=_everywhere(model, modality, intervention))


def _everywhere(
    model: VisionLanguageModel, modality: Modality, intervention: Intervention
) -> dict[tuple[Modality, int], Intervention]:
    return {(modality, depth): intervention for depth in range(model.encoder.config.cross_layers)}


def _by_token_mean(
    model: VisionLanguageModel, arithmetic: Arithmetic, modality: Modality, batch: Batch
) -> torch.Tensor:
    with arithmetic.autocast():
        text, image = model.features("text", batch.text), model.features("vision", batch.image)
    mask = text.mask if modality == "text" else image.mask
    everywhere = _everywhere(model, modality, token_mean(mask))
    return logits(model, replace(batch, text=text, image=image), arithmetic, everywhere)


def _without_weight(model: VisionLanguageModel, arithmetic: Arithmetic, modality: Modality, expert: int) -> Answer:
    return _intervened(model, arithmetic, modality, without(expert))


def _without_input(model: VisionLanguageModel, arithmetic: Arithmetic, modality: Modality, expert: int) -> Answer:
    def answer(batch: Batch) -> torch.Tensor:
        text, image = model.features("text", batch.text), model.features("vision", batch.image)
        if modality == "text":
            text = _zeroed(text, expert)
        else:
            image = _zeroed(image, expert)
        return logits(model, replace(batch, text=text, image=image), arithmetic)

    return answer


def _zeroed(features: Features, expert: int) -> Features:
    levels = list(features.levels)
    levels[expert - 1] = torch.zeros_like(levels[expert - 1])
    return Features(tuple(levels), features.mask)
