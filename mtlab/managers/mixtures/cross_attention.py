"""Attention over experts, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Experts, Intervention, Place, register_manager
from mtlab.managers.mixtures.attending import FusedQuery, check_heads, sought, spared
from mtlab.managers.mixtures.mixture import Mixed, Mixture, free_weight
from mtlab.managers.mixtures.terms import normed, norms_of, spread, total, weighted


@register_manager("cross_attention")
class CrossAttention(Mixture):
    """Each token attends over the experts' states of that same token: it chooses by what they hold.

    α_n = softmax_n(W_q c · W_k r_n / √D), out = Σ_n α_n r_n + ω ⊙ c, with r_n the normalised expert and c the
    normalised previous state; at the first cross-modal layer the top expert r_N asks. With heads, each head weighs its
    own share of the dimensions. `adaptive` scores experts by the query alone; here the experts' content counts as
    well. Source: the attention over experts that ManagerTower (ACL 2023) compares its managers with; per token, ours.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        heads: int = option(1, "attention heads; must divide the width", minimum=1)
        query: Literal["own", "fused"] = option(
            "own", "ask with the previous state alone, or beside what it attends to in the other modality"
        )
        mask_query: bool = option(True, "keep the fused query off padded tokens")
        weight: Literal["scalar", "vector"] = option(
            "vector", "weight of the previous state: one number, or one per dimension"
        )

    layer_weights: ClassVar[frozenset[str]] = frozenset({"previous_weight"})

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse a number of heads that does not divide the width."""
        check_heads(config.heads, place.width)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Heads, and what asks."""
        return {"heads": {"choice": [1, 2, 4, 8]}, "query": {"choice": ["own", "fused"]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        fused = config.query == "fused" and place.depth > 0
        self.heads = config.heads
        self.masks_padding = config.mask_query or config.query == "own"
        self.fused = FusedQuery(place.width, masked=config.mask_query) if fused else None
        self.query = nn.Linear(2 * place.width if fused else place.width, place.width)
        self.key = nn.Linear(place.width, place.width, bias=False)  # a bias would shift all of a query's logits alike
        self.previous_weight = free_weight(config.weight, place)

    def spared_flops(self, own: int, other: int) -> int:
        """Count what the fused query gets around."""
        return spared(self.place.width, own, other) if self.fused is not None else 0

    def mixed(
        self,
        experts: Experts,
        own: Tensor | None,
        other: Tensor | None,
        other_mask: Tensor | None,
        *,
        noise: Tensor | None,  # noqa: ARG002
        intervene: Intervention | None,
        record: bool,
    ) -> Mixed:
        """Weigh the experts by their likeness to the query and mix them, see `Mixture.mixed`."""
        held = normed(experts.standardised, self.scale, self.shift)
        query = self.query(self._asking(held[-1] if own is None else own, other, other_mask))
        wanted = sought(query, self.key.weight, self.heads)
        logits = torch.stack([(wanted * expert.unsqueeze(1)).sum(-1) for expert in held], 1)  # [B, N, H, L]
        weights = logits.softmax(1).transpose(2, 3)
        if intervene is not None:
            weights = intervene(spread(weights, self.place.width))
        terms = weighted(held, weights)
        return Mixed(total(terms), weights, norms_of(terms) if record else None)

    def _asking(self, own: Tensor, other: Tensor | None, other_mask: Tensor | None) -> Tensor:
        if self.fused is None or other is None:
            return own
        fused: Tensor = self.fused(own, other, other_mask)
        return fused
