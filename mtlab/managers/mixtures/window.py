"""A window over the experts, slid and widened by learning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.mixtures.base import Mixture, free_weight


@register_manager("window")
class Window(Mixture):
    """Each cross-modal layer looks at the experts through a Gaussian window whose centre and width it learns.

    α_n ∝ exp(−(n − μ)² / 2σ²), n = 1…N from the bottom: two numbers per cross-modal layer and modality, however many
    experts there are. σ → 0 takes one expert, as a bridge does, σ → ∞ is the mean: the published extremes are its
    limits, and training says where between them, and at which depth, a cross-modal layer reads. It is also the control
    for free weights: what `static` gains beyond it, it gains by weights that do not follow depth. It starts wide open
    at the middle, almost uniform as `static` does, since a narrow window far from what it needs hardly feels it. The
    same for all tokens. Source: ours.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        centre: Literal["middle", "paired"] = option(
            "middle", "where the window starts: at the middle, or at the expert that a bridge would take"
        )
        spread: float = option(
            1.0, "initial standard deviation σ of the window, in units of N, learned from there", above=0.0
        )
        weight: Literal["scalar", "vector"] = option(
            "vector", "weight of the previous state: one number, or one per dimension"
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"centre", "log_spread", "previous_weight"})

    numbers: Tensor

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Where the window starts, and how wide."""
        return {
            "centre": {"choice": ["middle", "paired"]},
            "spread": {"float": [0.1, 2.0], "log": True},
            "weight": {"choice": ["scalar", "vector"]},
        }

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        start = place.paired_expert if config.centre == "paired" else (place.experts + 1) / 2
        self.register_buffer("numbers", torch.arange(1.0, place.experts + 1).view(1, -1, 1, 1), persistent=False)
        self.centre = nn.Parameter(torch.tensor(float(start)))
        self.log_spread = nn.Parameter(torch.tensor(math.log(config.spread * place.experts)))
        self.previous_weight = free_weight(config.weight, place)

    def weights(self, _inputs: Inputs, _own: Tensor | None, /) -> Tensor:
        """Weigh the experts by their distance from the centre, [1, N, 1, 1]."""
        away = (self.numbers - self.centre) / self.log_spread.exp()
        return (-away.square() / 2).softmax(1)
