"""The unweighted mean of the experts."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.mixtures.base import Mixture


@register_manager("mean")
class Mean(Mixture):
    """The mean of the normalised experts, plus the normalised previous state: nothing is learned but the norms.

    out = (1 / N) Σ_n LN_n(u_n) + LN(c). The control for managers with learned weights: what they gain beyond it, they
    gain by weighing. Source: ours.
    """

    uniform: Tensor

    def __init__(self, config: object, place: Place) -> None:
        super().__init__(config, place)
        self.register_buffer("uniform", torch.full((1, place.experts, 1, 1), 1 / place.experts), persistent=False)
        self.register_buffer("previous_weight", torch.ones(1) if place.depth else None, persistent=False)

    def weights(self, _inputs: Inputs, _own: Tensor | None, /) -> Tensor:
        """Weigh all experts alike, [1, N, 1, 1]."""
        return self.uniform
