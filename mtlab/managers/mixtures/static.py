"""Static aggregation of uni-modal experts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.mixtures.base import LearnedMixture


@register_manager("static")
class Static(LearnedMixture):
    """Static aggregation of uni-modal experts (SAUE): the same learned weights for every token of every example.

    out = Σ_n α_n ⊙ LN_n(u_n) + ω ⊙ LN(c), α = softmax_n(s / θ) with learned scores s and temperature θ, and a free
    weight ω; without the second term at the first cross-modal layer. Source: ManagerTower (ACL 2023), section 3.3.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LearnedMixture.Config):
        frozen: bool = option(
            False, "control: keep the experts' weights as they start (the previous state's weight is learned still)"
        )

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.score = self.uniform_score()
        self.score.requires_grad_(not config.frozen)
        self.temperature.requires_grad_(not config.frozen)

    def scores(self, _inputs: Inputs, _own: Tensor | None, /) -> Tensor:
        """Return the learned scores, blind to the input, [1, N, 1, 1|D]."""
        return self.score
