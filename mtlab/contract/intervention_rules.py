"""The rules of the contract on interventions: other weights, and levels that are removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mtlab.contract.case import Case, draw_features, randomise
from mtlab.contract.rule import NotApplicable, require, require_close, rule
from mtlab.managers.base import MODALITIES, Aggregated, Inputs, Modality
from mtlab.managers.interventions import token_mean, uniform_of, without
from mtlab.model.base import CrossModalOutput
from mtlab.model.encoder import CrossModalEncoder
from mtlab.towers.base import Features

JOINT_SOFTMAX = (
    "In a softmax over experts and previous states, `whole` is what the experts weigh in all: give intervene their "
    "part over it, and multiply the result by it, as static_all does: intervene(experts / whole) * whole"
)


@rule()
def interventions(case: Case) -> None:
    """Recorded weights can be intervened in; without an expert that is read the output is another."""
    used = case.entry.cls.experts_used(case.config, case.place)
    if not used or all(plain.weights is None for plain in case.recorded):
        raise NotApplicable("has no weights to intervene in")
    for inputs, plain in zip(case.inputs, case.recorded, strict=True):
        _intervene(case, inputs, plain, used)


def _intervene(case: Case, inputs: Inputs, plain: Aggregated, used: Sequence[int]) -> None:
    given: list[Tensor] = []

    def keep(weights: Tensor) -> Tensor:
        given.append(weights)
        return weights

    kept = case.manager(inputs, intervene=keep)
    require(given, "records weights, and does not call `intervene`")
    rows = given[0].shape[1]
    experts = case.place.experts
    too_many = f". {JOINT_SOFTMAX}" if experts < rows <= experts + case.place.depth else ""
    require(
        rows == experts,
        f"intervene is given {rows} weights (expected one for each of the {experts} experts, [B|1, N, L|1, D|1]"
        f"{too_many})",
    )
    require_close(kept.hidden, plain.hidden)
    for name, intervention in (("uniform", uniform_of(case.manager)), ("token_mean", token_mean(inputs.experts.mask))):
        changed = case.manager(inputs, intervene=intervention, record=True).hidden
        require(changed.shape == plain.hidden.shape, f"under the intervention {name} hidden has another shape")
        require(torch.isfinite(changed).all(), f"under the intervention {name} hidden is not finite")
    for expert in used:
        removed = case.manager(inputs, intervene=without(expert, raw=case.manager.raw_weights), record=True)
        require(removed.weights is not None, "records no weights under an intervention")
        require((removed.weights[:, expert - 1] == 0).all(), f"expert {expert} has weight after it was removed")
        require(not torch.allclose(removed.hidden, plain.hidden), f"without expert {expert} the output is the same")


@rule("options", any_sizes=True)
def removed_levels_are_gone(case: Case) -> None:
    """Without a level, noise in its place changes nothing; the output is finite, and another if it was read."""
    encoder = case.encoder()
    for _, manager in encoder.managers():
        randomise(manager)
    given: dict[Modality, Features] = dict(zip(MODALITIES, draw_features(), strict=True))
    with torch.no_grad():
        plain = encoder(*given.values()).pooled
        for modality in MODALITIES:
            places = (manager.place for (own, _), manager in encoder.managers() if own == modality)
            used = {expert for place in places for expert in case.entry.cls.experts_used(case.config, place)}
            for expert in range(1, len(given[modality].levels) + 1):
                removed, noisy = (_pool_without(encoder, given, modality, expert, noise) for noise in (0.0, 9.0))
                level = f"level {expert} of {len(given[modality].levels)} ({modality})"
                neutral = f"`neutral`, {case.entry.cls.neutral:g}, in all its dimensions"
                require(torch.isfinite(removed).all(), f"without {level} ({neutral}) the output is not finite")
                same = torch.allclose(removed, noisy)
                require(
                    same, f"{level} moves the output after it was removed: read levels from `inputs`, in every call"
                )
                moved = expert not in used or not torch.allclose(removed, plain)
                require(moved, f"without {level}, which it reads, the output is the same")


def _pool_without(
    encoder: CrossModalEncoder, given: Mapping[Modality, Features], modality: Modality, expert: int, noise: float
) -> Tensor:
    """Run the encoder without a level, as `measure_interventions` does, after noise was added to it."""
    levels = list(given[modality].levels)
    drawn = torch.randn(levels[expert - 1].shape, generator=torch.Generator().manual_seed(expert))
    levels[expert - 1] = levels[expert - 1] + noise * drawn
    changed = {**given, modality: replace(given[modality], levels=tuple(levels), removed=expert)}
    own = ((key, manager) for key, manager in encoder.managers() if key[0] == modality)
    intervene = {key: without(expert, raw=manager.raw_weights) for key, manager in own}
    output: CrossModalOutput = encoder(changed["text"], changed["image"], intervene=intervene)
    return output.pooled


INTERVENTION_RULES = (interventions, removed_levels_are_gone)
