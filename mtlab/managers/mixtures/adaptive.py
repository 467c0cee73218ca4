"""Adaptive aggregation of uni-modal experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.attention import fused_attention
from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.mixtures.base import LearnedMixture


@register_manager("adaptive")
class Adaptive(LearnedMixture):
    """Adaptive aggregation of uni-modal experts (AAUE): each token asks for the experts that it needs.

    out = Σ_n α_n ⊙ LN_n(u_n) + ω ⊙ LN(c), α = softmax_n(W q / θ). A token's query q is its own previous state, `fused`
    with what it attends to in the other modality or not (`own`). The first cross-modal layer has neither: there the
    weights are static. Source: ManagerTower (ACL 2023), section 3.3.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LearnedMixture.Config):
        weight: Literal["scalar", "vector"] = option(
            "vector",
            "`vector`: the previous state has one weight per dimension; `scalar`: one. Experts have one per token, and "
            "in the first cross-modal layer, where weights are static, as many as the previous state",
        )
        query: Literal["fused", "own"] = option(
            "fused", "ask with the previous state beside what it attends to in the other modality, or with it alone"
        )
        mask_query: bool = option(
            True, "keep the fused query off padded tokens; false lets padding leak in, as the published code does"
        )

    inert = frozenset({"key.bias"})  #: shifts all of a query's logits alike

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """As `static`, and what asks."""
        return {**super().search_space(), "query": {"choice": ["fused", "own"]}}

    score: nn.Parameter

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.fused = config.query == "fused"
        self.mask_query = config.mask_query
        self.masks_padding = config.mask_query or not self.fused
        if place.depth == 0:
            self.score = self.uniform_score()
            return
        if self.fused:
            self.other_norm = nn.LayerNorm(place.width)
            self.query = nn.Linear(place.width, place.width)
            self.key = nn.Linear(place.width, place.width)
        self.controller = nn.Linear((2 if self.fused else 1) * place.width, place.experts)

    def scores(self, inputs: Inputs, own: Tensor | None, /) -> Tensor:
        """Score the experts for each token, [B, N, L, 1]; at the first cross-modal layer alike for all."""
        if own is None:
            return self.score
        scores = self._score_fused(inputs, own) if self.fused else self.controller(own)  # [B, L, N]
        return scores.transpose(1, 2).unsqueeze(-1)

    def _score_fused(self, inputs: Inputs, own: Tensor) -> Tensor:
        """Score by [A o ; c], A o what own tokens attend to: W [A o ; c] = A (W₁ o) + W₂ c, [B, L, N]."""
        other = self.other_norm(inputs.other)
        width, weight = self.place.width, self.controller.weight
        keys, values = F.linear(other, self.key.weight), F.linear(other, weight[:, :width])
        mask = inputs.other_mask.unsqueeze(1) if self.mask_query and inputs.other_mask is not None else None
        attended = fused_attention(self.query(own), keys, values, mask)
        return attended + F.linear(own, weight[:, width:], self.controller.bias)

    def skipped_flops(self, own: int, other: int) -> int:
        """Count what is avoided as values have N dimensions in place of D."""
        if not self.place.depth or not self.fused:
            return 0
        width, experts = self.place.width, self.place.experts
        return 2 * own * other * (width - experts) + 2 * width * experts * (own - other)
