"""Candidates for a better manager that are no options of one in the registry: F and G of ../predictions.md."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mtlab.managers.base import (
    Aggregated,
    Inputs,
    Intervention,
    Manager,
    Place,
    register_manager,
    stack_weights,
)
from mtlab.managers.mixtures.base import weighted_sum


def spread_level(place: Place) -> int:
    """Return the level of this layer, from 0, where the layers' levels are spread from the lowest to the highest."""
    return place.experts - 1 if place.layers == 1 else round(place.depth * (place.experts - 1) / (place.layers - 1))


class Spread(Manager):
    """Shares the sum over normalised levels, Σ_n w_n ⊙ LN(u_n), w any numbers, [1, N, 1, D]."""

    weights_sum_to_one = False
    raw_weights = True

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.norm = nn.LayerNorm(place.width)
        self.register_buffer("one", torch.ones(place.experts, 1, place.width), persistent=False)
        self.one: Tensor

    def add_up(self, inputs: Inputs, weights: Tensor) -> Tensor:
        """Sum up, [B, L, D]."""
        standardised = inputs.experts.standardised
        hidden = weighted_sum(standardised, weights, self.one, torch.zeros_like(self.one))
        return hidden.to(standardised.dtype)


@register_manager("spread_sum")
class SpreadSum(Spread):
    """G. LN(Σ_n w_n ⊙ LN(u_n) + Σ_p v_p ⊙ c_p): a bridge on spread levels at the start, free weights from there.

    w is one for the layer's level of a spread from the lowest to the highest and zero for all others at the start, v
    one for the newest state; both may become any number.
    """

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"weight", "previous"})

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        weight = torch.zeros(1, place.experts, 1, place.width)
        weight[:, spread_level(place)] = 1.0
        self.weight = nn.Parameter(weight)
        previous = torch.zeros(1, place.depth, 1, place.width)
        previous[:, -1:] = 1.0
        self.previous = nn.Parameter(previous) if place.depth else None

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        weights = self.weight if intervene is None else intervene(self.weight)
        hidden = self.add_up(inputs, weights)
        if self.previous is not None:
            for part, state in zip(self.previous.unbind(1), inputs.history, strict=True):
                hidden = torch.addcmul(hidden, part.to(state.dtype), state)
        rows = stack_weights(weights, self.previous) if record else None
        return Aggregated(self.norm(hidden), rows)


@register_manager("gated_bridge")
class GatedBridge(Spread):
    """F. LN(u_b + c) + tanh(g) ⊙ Σ_n α_n ⊙ LN(u_n): a bridge on spread levels, to which a mixture of all is added.

    b is the layer's level of a spread from the lowest to the highest; g starts at zero, α = softmax_n(s) at 1/N.
    """

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"score", "gate"})

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.score = nn.Parameter(torch.full((1, place.experts, 1, place.width), 1 / place.experts))
        self.gate = nn.Parameter(torch.zeros(place.width))

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        del intervene, record
        hidden = inputs.experts.levels[spread_level(self.place)]
        hidden = self.norm(hidden + inputs.history[-1] if inputs.history else hidden)
        mixed = self.add_up(inputs, self.score.softmax(1))
        return Aggregated(torch.addcmul(hidden, self.gate.tanh().to(hidden.dtype), mixed))
