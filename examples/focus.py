"""A manager in one file: each cross-modal layer learns a depth of the tower, and how sharply it focuses on it.

mtlab check focus --plugin focus    # in this folder: does it keep the contract of a manager?
mtlab run focus.yaml                # compare it with three others, in about a minute
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Inputs, Intervention, Manager, Place, register_manager


@register_manager("focus")
class Focus(Manager):
    """A Gaussian over the depth of the tower weighs the experts; the previous state is added."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        start: float = option(
            0.5, "where the centre starts: 0 the lowest level, 1 the highest", minimum=0.0, maximum=1.0
        )
        spread: float = option(0.5, "standard deviation at the start, as a share of the depth", above=0.0)

    layer_weight_names = frozenset({"centre", "log_spread"})  # these learn at train.lr × train.lr_layer_weights

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.centre = nn.Parameter(torch.tensor(config.start))
        self.log_spread = nn.Parameter(torch.tensor(config.spread).log())
        self.norm = nn.LayerNorm(place.width)
        self.register_buffer("depths", torch.linspace(0, 1, place.experts).view(1, -1, 1, 1), persistent=False)
        self.depths: Tensor

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Mix the experts, [B, N, L, D] → [B, L, D]."""
        distance = (self.depths - self.centre) / self.log_spread.exp()
        weights = (-0.5 * distance**2).softmax(1)  # [1, N, 1, 1]
        if intervene is not None:
            weights = intervene(weights)
        hidden = (weights * inputs.experts.standardised).sum(1)
        if inputs.history:
            hidden = hidden + inputs.history[-1]
        return Aggregated(self.norm(hidden), weights.detach() if record else None)
