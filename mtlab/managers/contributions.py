"""Contributions of managers whose output is no sum: the change that it undergoes without each state in turn."""

from __future__ import annotations

from dataclasses import replace

import torch

from mtlab.managers.base import Aggregated, Inputs, Manager, share_norms, stack_norms


@torch.no_grad()
def measure_removals(manager: Manager, inputs: Inputs, result: Aggregated) -> Aggregated:
    """Add the contributions of a manager whose output is no sum, by removing each state in turn.

    A removed state is filled with `manager.neutral` at every dimension. The changes of the output, as Euclidean norms
    over D, are divided by their sum.

    Args:
        manager: in evaluation mode.
        inputs: what it was given.
        result: what it returned. Previous states are removed one by one if its weights have a row for each, else all
            together.

    """
    experts, history = inputs.experts, inputs.history
    changed = [
        manager(replace(inputs, experts=experts.without(expert, manager.neutral))).hidden
        for expert in range(1, experts.states.shape[1] + 1)
    ]
    rows = 1 if result.weights is None else result.weights.shape[1] - len(changed)
    one_by_one = rows == len(history)
    for place in range(len(history) if one_by_one else min(1, len(history))):
        below = [
            torch.full_like(state, manager.neutral) if at == place or not one_by_one else state
            for at, state in enumerate(history)
        ]
        changed.append(manager(replace(inputs, history=tuple(below))).hidden)
    norms = stack_norms([result.hidden.float() - each.float() for each in changed])
    return replace(result, contributions=share_norms(norms), by_removal=True)
