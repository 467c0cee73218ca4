"""Candidate F for a better manager, of ../predictions.md; the others are options or managers of the registry."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from mtlab.managers.base import Aggregated, Inputs, Intervention, Manager, Place, register_manager
from mtlab.managers.mixtures.base import weighted_sum


@register_manager("gated_bridge")
class GatedBridge(Manager):
    """LN(u_b + c) + tanh(g) ⊙ Σ_n α_n ⊙ LN(u_n): a bridge on spread levels, to which a mixture of all is added.

    b is the layer's level of a spread from the lowest to the highest; g starts at zero, α = softmax_n(s) at 1/N.
    """

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"score", "gate"})

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.norm = nn.LayerNorm(place.width)
        self.score = nn.Parameter(torch.full((1, place.experts, 1, place.width), 1 / place.experts))
        self.gate = nn.Parameter(torch.zeros(place.width))

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        del intervene, record
        experts = inputs.experts
        own = experts.levels[self.place.spread_expert - 1]
        own = self.norm(own + inputs.history[-1] if inputs.history else own)
        one = torch.ones_like(self.score[0])
        mixed = weighted_sum(experts.standardised, self.score.softmax(1), one, torch.zeros_like(one))
        return Aggregated(torch.addcmul(own, self.gate.tanh().to(own.dtype), mixed.to(own.dtype)))
