"""Levels weighed by what the other modality says: TGIF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.config.options import MAX_SIZE, option
from mtlab.managers.base import Aggregated, Inputs, Intervention, Place, pool_tokens, register_manager
from mtlab.managers.bridges.base import expert_number
from mtlab.managers.connectors.base import Connector, Projector, weigh_levels


@register_manager("tgif")
class Tgif(Connector):
    """Text-guided inter-layer fusion: the other modality weighs the levels, one weight per level and example.

    w = softmax(W₂ relu(W₁ t + b₁) + b₂), t the mean over the real tokens of one level of the other modality; then
    P(LN(u_(N−1) + Σ_n w_n u_n)), P two linear maps with a GELU between them, in front of the first cross-modal layer;
    above, the previous state passes alone. The weight of level N − 1 is recorded as w + 1. Texts are guided by images
    in the same way. Source: TGIF (arXiv 2601.03100), where the text is that of the language model's input embeddings.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        guide: int = option(1, "the other modality's offered level whose mean asks (published: its input embeddings)")
        hidden: int = option(
            512, "inner width of the network that makes the weights (published)", minimum=1, maximum=MAX_SIZE
        )
        projector: bool = option(True, "two linear maps with a GELU behind the norm (published)")
        entropy: float = option(
            0.0,
            "weight α of an auxiliary loss, Σ_n w̄_n log w̄_n with w̄ the mean over the batch (published: 0)",
            minimum=0.0,
            sizing=False,
        )

    raw_weights = True

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse a guide that is not offered."""
        expert_number(config.guide, place.other_experts, "guide")

    @classmethod
    def other_experts_used(cls, config: Config, place: Place) -> Sequence[int]:
        """The guide, at the first cross-modal layer."""
        return () if place.depth else (expert_number(config.guide, place.other_experts, "guide"),)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """The level that guides, and what is behind the mix."""
        return {"guide": {"choice": [1, -1]}, "projector": {"choice": [True, False]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.independent_examples = not config.entropy or place.depth > 0
        if place.depth:
            return
        (self.guide,) = self.other_experts_used(config, place)
        self.base = max(place.experts - 1, 1)
        self.skips = {self.base: 1.0}
        self.widen = nn.Linear(place.width, config.hidden)
        self.controller = nn.Linear(config.hidden, place.experts)
        self.norm = nn.LayerNorm(place.width)
        self.projector = Projector(place.width, place.width) if config.projector else None

    def connect(self, inputs: Inputs, *, intervene: Intervention | None, record: bool) -> Aggregated:
        """Weigh, norm and project, see `Connector.connect`."""
        others = inputs.other_experts
        assert others is not None
        guide = pool_tokens(others.levels[self.guide - 1], others.mask)
        chosen = self.controller(self.widen(guide).relu()).softmax(-1)[:, :, None, None]  # [B, N, 1, 1]
        base = torch.zeros_like(chosen[:1])
        base[:, self.base - 1] = 1
        weights = chosen + base
        if intervene is not None:
            weights = intervene(weights)
        mixed = self.norm(weigh_levels(inputs.experts, weights))
        hidden = mixed if self.projector is None else self.projector(mixed)
        auxiliary = self.config.entropy * _negative_entropy(chosen) if self.config.entropy else None
        return Aggregated(hidden, weights.detach() if record else None, auxiliary=auxiliary)


def _negative_entropy(weights: Tensor) -> Tensor:
    mean = weights.flatten(1).mean(0)
    return (mean * (mean + 1e-8).log()).sum()
