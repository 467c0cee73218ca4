"""Contributions: the share of each level and each previous state in what a manager hands on.

Of a sum of terms, a contribution is the term's Euclidean norm over D, divided by the sum of all terms' norms. A
LayerNorm around the sum is taken apart first. Where the output is no sum, a contribution is the change that the output
undergoes without the state, divided by the sum of all such changes.

Shapes: B examples, N experts, P previous states, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mtlab.managers.base import Aggregated, Experts, Inputs, Manager


@torch.no_grad()
def stack_norms(terms: Sequence[Tensor]) -> Tensor:
    """Measure terms, N times [B, L, D]: Euclidean norms over D, [B, N, L], detached."""
    return torch.stack([torch.linalg.vector_norm(term, dim=-1) for term in terms], 1)


@torch.no_grad()
def share_norms(norms: Tensor, previous: Sequence[Tensor] = ()) -> Tensor:
    """Divide each norm by the sum of all.

    Args:
        norms: Euclidean norms over D of the experts' terms, [B, N, L].
        previous: the previous states' terms, P times [B, L, D].

    Returns:
        [B, N + P, L], detached, summing to one over N + P; alike where all norms are 0.

    """
    if previous:
        norms = torch.cat([norms, stack_norms(previous)], 1)
    whole = norms.sum(1, keepdim=True)
    return torch.where(whole > 0, norms / whole, 1 / norms.shape[1])


@torch.no_grad()
def split_norm(terms: Sequence[Tensor], norm: nn.LayerNorm) -> list[Tensor]:
    """Take a LayerNorm of a sum apart: LN(Σ t_i) = Σ_i γ ⊙ (t_i − mean(t_i)) / σ + β, σ the deviation of the whole sum.

    Once σ is fixed, the norm is linear up to its shift β. The shift is the same whatever the terms are, and no part of
    any of them.

    Args:
        terms: t, of one shape [B, L, D].
        norm: around their sum.

    Returns:
        The parts without β, as many, [B, L, D], detached.

    """
    total = torch.stack(list(terms)).sum(0)
    deviation = (total.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    return [norm.weight * (term - term.mean(-1, keepdim=True)) / deviation for term in terms]


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
    changed = []
    for expert in range(experts.states.shape[1]):
        states = experts.states.index_fill(1, torch.tensor([expert], device=experts.states.device), manager.neutral)
        changed.append(manager(replace(inputs, experts=Experts(states, experts.mask))).hidden)
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
