"""Attention over experts, token by token."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtlab.attention import fused_attention
from mtlab.config.options import option
from mtlab.managers.base import Inputs, Intervention, Place, check_heads, register_manager, stack_norms
from mtlab.managers.mixtures.base import (
    Mixture,
    WeightedSum,
    absorb_key_map,
    expand_groups,
    free_weight,
    skipped_level_flops,
    weigh,
)


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
        heads: int = option(1, "attention heads; must divide the width", minimum=1)
        query: Literal["own", "fused"] = option(
            "own", "ask with the previous state alone, or beside what it attends to in the other modality"
        )
        mask_query: bool = option(True, "keep the fused query off padded tokens")
        weight: Literal["scalar", "vector"] = option(
            "vector", "weight of the previous state: one number, or one per dimension"
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"previous_weight"})

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

    def sum_experts(
        self, inputs: Inputs, own: Tensor | None, *, intervene: Intervention | None, record: bool
    ) -> WeightedSum:
        """Weigh the experts by their likeness to the query and add them up, see `Mixture.sum_experts`."""
        experts = torch.addcmul(self.shift, inputs.experts.standardised, self.scale).unbind(1)
        asking = experts[-1] if own is None else own
        query = self.query(asking if self.fused is None else self.fused(asking, inputs.other, inputs.other_mask))
        queries = absorb_key_map(query, self.key.weight, self.heads)
        logits = torch.stack([(queries * expert.unsqueeze(1)).sum(-1) for expert in experts], 1)  # [B, N, H, L]
        weights = logits.softmax(1).transpose(2, 3)
        if intervene is not None:
            weights = intervene(expand_groups(weights, self.place.width))
        terms = weigh(experts, weights)
        hidden = functools.reduce(torch.add, terms)
        return WeightedSum(hidden, weights, stack_norms(terms) if record else None)

    def skipped_flops(self, own: int, other: int) -> int:  # noqa: ARG002 - the other modality costs as the formula says
        """Count the map of the experts' keys."""
        return skipped_level_flops(self.place.width, own, self.place.experts)


class FusedQuery(nn.Module):
    """[A o ; c]: attended first, own second, with A = softmax(Q c · K o / √D) and o the normalised other modality.

    One head, no value projection; K has no bias, which would shift all of a query's logits alike. Source: the cross-
    modal fused query of ManagerTower (ACL 2023), section 3.3.

    Args:
        width: D.
        masked: keep the attention off padded tokens of the other modality.

    """

    def __init__(self, width: int, *, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, own: Tensor, other: Tensor, other_mask: Tensor | None) -> Tensor:
        """Fuse own [B, L, D] with the other modality [B, M, D], real where `other_mask` [B, M] is True: [B, L, 2D]."""
        other = self.norm(other)
        mask = other_mask.unsqueeze(1) if self.masked and other_mask is not None else None
        return torch.cat([fused_attention(self.query(own), self.key(other), other, mask), own], -1)
