"""Interventions in a trained manager's weights, whose effect on the metric is measured without training again.

Each maps the weights α of the experts, [B|1, N, L|1, D|1], to those used instead. The previous state's weight stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtlab.managers.base import Intervention, Manager

SUM_TOLERANCE = 0.02  #: by which weights in half precision may miss a sum of one


def uniform(experts: Sequence[int], skips: Mapping[int, float] | None = None) -> Intervention:
    """Give some experts (1-based) the same weight, and the same in all, and the others none.

    An expert that other tokens read (`sparse`) is read by all: the choice is what is taken away.

    Args:
        experts: `Manager.weighed`.
        skips: `Manager.skips`, weights that stay.

    """

    def intervene(weights: Tensor) -> Tensor:
        skip, share = (weights.new_zeros(1, weights.shape[1], 1, 1) for _ in range(2))
        for expert, weight in (skips or {}).items():
            skip[:, expert - 1] = weight
        for expert in experts:
            share[:, expert - 1] = 1 / len(experts)
        return skip + (weights - skip).sum(1, keepdim=True) * share

    return intervene


def uniform_of(manager: Manager, rows: Sequence[int] | None = None) -> Intervention:
    """Make a manager's weights uniform; rows: where weights have those of its experts, from 0; None: in order."""
    at = range(manager.place.experts) if rows is None else rows
    skips = {at[expert - 1] + 1: weight for expert, weight in manager.skips.items()}
    return uniform([at[expert - 1] + 1 for expert in manager.weighed], skips)


def without(expert: int, *, raw: bool = False) -> Intervention:
    """Take an expert's weight (1-based among those offered); if it was the only one, all are 0.

    A manager may read the level elsewhere, to ask with for example: to remove it, fill its states too, by
    `Features.removed` or `Experts.without`. Weights that sum to one are renormalised; raw ones (`Manager.raw_weights`)
    are left as they are, even where they happen to sum to one.
    """

    def intervene(weights: Tensor) -> Tensor:
        kept = torch.ones(weights.shape[1], dtype=weights.dtype, device=weights.device)
        kept[expert - 1] = 0.0
        rest = weights * kept.view(1, -1, 1, 1)
        if raw:
            return rest
        shares = (weights >= 0).all(1, keepdim=True) & ((weights.sum(1, keepdim=True) - 1).abs() < SUM_TOLERANCE)
        total = rest.sum(1, keepdim=True)
        renormalised = shares & (total > 0)
        return torch.where(renormalised, rest / total.where(renormalised, torch.ones_like(total)), rest)

    return intervene


def token_mean(mask: Tensor | None = None) -> Intervention:
    """Give every token of an example the mean weights of its real tokens (mask: True there, [B, L])."""

    def intervene(weights: Tensor) -> Tensor:
        if weights.shape[2] == 1:
            return weights
        if mask is None:
            return weights.mean(2, keepdim=True)
        real = mask.to(weights)[:, None, :, None]
        return (weights * real).sum(2, keepdim=True) / real.sum(2, keepdim=True)

    return intervene


def replacement(other: Tensor) -> Intervention:
    """Use other weights, such as another seed's, of a shape that broadcasts to [B, N, L, D]."""

    def intervene(weights: Tensor) -> Tensor:
        return other.to(weights)

    return intervene
