"""Validation metrics under interventions: with other weights of the managers, and without each expert.

A level is removed from all that reads it at once: its projected states are filled with `Manager.neutral`, and in every
manager that has weights its weight is 0 and the rest renormalised, unless weights are raw. What the level held can no
longer move the output.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from mtlab.data.batches import Batch, Loader
from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.managers.base import MODALITIES, Aggregated, Intervention, Manager, Modality
from mtlab.managers.interventions import replacement, token_mean, uniform_of, without
from mtlab.model.base import Encoder, ManagerKey
from mtlab.model.forward import ForwardContext, Runtime
from mtlab.model.network import ImageInterventions, Masks
from mtlab.tasks.build import TaskModel
from mtlab.tasks.evaluation import Evaluation, evaluate
from mtlab.towers.build import TowerKind

_TOWERS: dict[Modality, TowerKind] = {"text": "text", "image": "vision"}


def measure_interventions(
    model: TaskModel,
    loader: Loader,
    batch: int,
    runtime: Runtime,
    levels: Mapping[Modality, tuple[int, ...]],
    weighted: set[Modality],
    between: Callable[[], None] = lambda: None,
    group: ProcessGroup = SINGLE_PROCESS,
    passed: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure a trained model on validation data under each intervention.

    Args:
        model: in evaluation mode.
        loader: the validation split.
        batch: examples in one forward pass.
        runtime: where and how precisely.
        levels: the offered levels, 1-based.
        weighted: the modalities whose managers all have weights.
        between: called before each batch.
        group: the processes that share the validation examples.
        passed: called after each pass over them.

    Returns:
        `{"metric": …, MODALITY: {"by": "weights" | "input", "uniform": value | None, "token_mean": value | None,
        "without": {LEVEL: value}, "families": {LEVEL: {FAMILY: value}}}}`, by: were there weights to renormalise, or
        were the level's states filled alone? token_mean: each example's weights replaced by their mean over its real
        tokens; without: of the levels that some manager is offered; families: the same by family of the examples.

    """

    def evaluated(context: ForwardContext) -> Evaluation:
        evaluation = evaluate(replace(context, group=group, reads="primary"), loader, batch, between)
        passed()
        return evaluation

    def value(context: ForwardContext) -> float:
        return float(evaluated(context).outcomes.mean())

    measured: dict[str, Any] = {"metric": f"val/{next(iter(model.task.metrics))}"}
    for modality in MODALITIES:
        is_weighted = modality in weighted
        with_weights = partial(_with_weights, model, runtime, modality)
        undisturbed = ForwardContext(model, runtime)
        of_weights = {
            "by": "weights" if is_weighted else "input",
            "uniform": value(with_weights(_uniform)) if is_weighted else None,
            "token_mean": value(with_weights(_token_mean)) if is_weighted else None,
        }
        removed = {
            str(level): evaluated(
                replace(
                    with_weights(partial(_without, expert))
                    if is_weighted and not model.encoder.holds_others(modality, expert)
                    else undisturbed,
                    removed={_TOWERS[modality]: expert},
                )
            )
            for expert, level in enumerate(levels[modality], 1)
            if level in model.encoder.offered_levels(modality)
        }
        measured[modality] = of_weights | {
            "without": {level: float(each.outcomes.mean()) for level, each in removed.items()},
            "families": {level: each.family_means(each.primary) for level, each in removed.items()},
        }
    return measured


def swapped_context(
    model: TaskModel,
    other: TaskModel,
    runtime: Runtime,
    modalities: Collection[Modality],
    other_batch: Callable[[Batch], Batch] = lambda batch: batch,
) -> ForwardContext:
    """Run a trained model with the weights that another seed's managers give the experts, or its own on other examples.

    Args:
        model: in evaluation mode; its task reads each example by itself (`Task.reads_each_alone`).
        other: in evaluation mode; it reads examples undisturbed, and its weights take the model's place. What a manager
            weighs its experts in all, and the previous states, stay its own.
        runtime: where and how precisely.
        modalities: those whose managers all have weights, and are to take the other's.
        other_batch: the examples that `other` reads, as many as those of the batch, with as many tokens; by default
            the same.

    Returns:
        For `evaluate`.

    """
    return _SwappedContext(model, runtime, other=other, modalities=frozenset(modalities), other_batch=other_batch)


@dataclass(frozen=True, kw_only=True)
class _SwappedContext(ForwardContext):
    """The context of a model that weighs its experts as another model does, on the same batch or on another."""

    other: TaskModel
    modalities: frozenset[Modality]
    other_batch: Callable[[Batch], Batch]

    def image_interventions(self, batch: Batch) -> ImageInterventions:
        other, read = self.other, self.other_batch(batch).to(self.device)
        with self.autocast():
            text, image = other.features("text", read.text), other.features("vision", read.image)
            outputs = other.fuse(text, image, record=True)
        weights = [self._weights(fused.recorded or {}) for fused in outputs]
        return lambda index, _: weights[index]

    def _weights(self, recorded: Mapping[ManagerKey, Aggregated]) -> dict[ManagerKey, Intervention]:
        return {
            (modality, depth): replacement(
                _expert_weights(recorded[modality, depth], manager, len(self.other.encoder.levels[modality]))
            )
            for (modality, depth), manager in self.other.encoder.managers()
            if modality in self.modalities
        }


def _expert_weights(aggregated: Aggregated, manager: Manager, offered: int) -> torch.Tensor:
    """Return a manager's recorded weights of the N offered levels, summing to one unless raw: [B|1, N, L|1, D|1]."""
    assert aggregated.weights is not None
    weights = aggregated.weights[:, :offered].nan_to_num(0.0)  # NaN: levels that the manager is not offered
    if manager.raw_weights:
        return weights
    whole = weights.sum(1, keepdim=True)
    return torch.where(whole == 0, weights, weights / whole)


def _with_weights(
    model: TaskModel,
    runtime: Runtime,
    modality: Modality,
    intervention: Callable[[Encoder, ManagerKey, torch.Tensor | None], Intervention],
) -> ForwardContext:
    """Change the weights of all managers of a modality, by the encoder, a manager's key and the real tokens."""

    def everywhere(masks: Masks) -> dict[ManagerKey, Intervention]:
        keys = [key for key in model.encoder.keys() if key[0] == modality]  # noqa: SIM118 - no mapping
        return {key: intervention(model.encoder, key, masks[modality]) for key in keys}

    return ForwardContext(model, runtime, intervene=everywhere)


def _uniform(encoder: Encoder, key: ManagerKey, _mask: torch.Tensor | None) -> Intervention:
    return uniform_of(encoder.manager(*key), encoder.rows_offered(*key))


def _token_mean(_encoder: Encoder, _key: ManagerKey, mask: torch.Tensor | None) -> Intervention:
    return token_mean(mask)


def _without(expert: int, encoder: Encoder, key: ManagerKey, _mask: torch.Tensor | None) -> Intervention:
    return without(expert, raw=encoder.manager(*key).raw_weights)
