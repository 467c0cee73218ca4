"""A free sum over levels and all states below, which starts as a bridge on levels spread over the tower."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from mtlab.managers.base import (
    Aggregated,
    Inputs,
    Intervention,
    Manager,
    Place,
    register_manager,
    share_norms,
    stack_norms,
    stack_weights,
)
from mtlab.managers.bridges.base import split_norm
from mtlab.managers.mixtures.base import weighted_sum


@register_manager("spread_sum")
class SpreadSum(Manager):
    """A free sum of all levels and all states below: LN(Σ_n w_n ⊙ LN(u_n) + Σ_p v_p ⊙ c_p), LN(u_n) without weights.

    w and v are any numbers, one for each dimension, the same for all tokens. It starts as a bridge: w is one for the
    layer's level of a spread from the lowest to the highest, v for the newest state, and all others are zero. Source:
    mtlab, chosen among seven candidates (analysis/predictions.md).
    """

    weights_sum_to_one = False
    raw_weights = True
    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"weight", "previous"})

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.norm = nn.LayerNorm(place.width)
        weight = torch.zeros(1, place.experts, 1, place.width)
        weight[:, place.spread_expert - 1] = 1.0
        self.weight = nn.Parameter(weight)
        previous = torch.zeros(1, place.depth, 1, place.width)
        previous[:, -1:] = 1.0
        self.previous = nn.Parameter(previous) if place.depth else None

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        levels = inputs.experts.standardised
        weights = self.weight if intervene is None else intervene(self.weight)
        one = torch.ones_like(self.weight[0])  # the norms of levels learn neither scale nor shift
        hidden = weighted_sum(levels, weights, one, torch.zeros_like(one)).to(levels.dtype)
        previous = () if self.previous is None else self.previous.to(levels.dtype).unbind(1)
        for part, state in zip(previous, inputs.history, strict=True):
            hidden = torch.addcmul(hidden, part, state)
        out = self.norm(hidden)
        if not record:
            return Aggregated(out)
        terms = [level * part for level, part in zip(levels.unbind(1), weights.unbind(1), strict=True)]
        terms += [part * state for part, state in zip(previous, inputs.history, strict=True)]
        shares = share_norms(stack_norms(split_norm(terms, self.norm)))
        return Aggregated(out, stack_weights(weights, self.previous), shares)
