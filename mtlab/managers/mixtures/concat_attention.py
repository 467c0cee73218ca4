"""Attention over all tokens of all experts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtlab.attention import fused_attention
from mtlab.config.options import option
from mtlab.managers.base import (
    Inputs,
    Intervention,
    Place,
    check_heads,
    intervention_factors,
    register_manager,
    stack_norms,
)
from mtlab.managers.mixtures.base import (
    Mixture,
    WeightedSum,
    absorb_key_map,
    expand_groups,
    free_weight,
    skipped_level_flops,
    split_width,
)


@register_manager("concat_attention")
class ConcatAttention(Mixture):
    """Each token attends over all tokens of all experts at once: it may choose another token as well as another layer.

    a_(n,j) = softmax_(n,j)(W_q c · W_k (r_(n,j) + e_n) / √D) over the real tokens, out = Σ_(n,j) a_(n,j) W_v r_(n,j) +
    ω ⊙ c, with r the normalised experts, e_n an embedding of expert n and c the normalised previous state. The first
    cross-modal layer has none: there the mean of the experts enters, or, by option, the top expert asks. The weight of
    expert n is Σ_j a_(n,j), its term Σ_j a_(n,j) W_v r_(n,j), and its contribution that term's Euclidean norm over D.
    An intervention scales each expert's term to the weight that it is given. With heads, each head attends for its own
    share of the output's dimensions. Source: the attention over concatenated experts that ManagerTower (ACL 2023)
    compares its managers with; details ours.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        heads: int = option(1, "attention heads; must divide the width", minimum=1)
        first: Literal["uniform", "top"] = option(
            "uniform", "at the first cross-modal layer: the mean of the experts, or attention asked by the top one"
        )
        weight: Literal["scalar", "vector"] = option(
            "vector", "weight of the previous state: one number, or one per dimension"
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"previous_weight"})

    uniform: Tensor

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse a number of heads that does not divide the width."""
        check_heads(config.heads, place.width)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Heads, and what the first cross-modal layer does."""
        return {"heads": {"choice": [1, 2, 4, 8]}, "first": {"choice": ["uniform", "top"]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        width = place.width
        self.heads = config.heads
        self.previous_weight = free_weight(config.weight, place)
        self.asks = place.depth > 0 or config.first == "top"
        if not self.asks:
            self.register_buffer("uniform", torch.full((1, place.experts, 1, 1), 1 / place.experts), persistent=False)
            return
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # a bias would shift all of a query's logits alike
        self.value = nn.Linear(width, width, bias=False)
        self.embedding = nn.Parameter(torch.zeros(place.experts, 1, width))

    def weights(self, _inputs: Inputs, _own: Tensor | None, /) -> Tensor:
        """Weigh all experts alike where nothing asks, [1, N, 1, 1]."""
        return self.uniform

    def sum_experts(
        self, inputs: Inputs, own: Tensor | None, *, intervene: Intervention | None, record: bool
    ) -> WeightedSum:
        """Attend over all tokens of all experts, see `Mixture.sum_experts`."""
        if not self.asks:
            return super().sum_experts(inputs, own, intervene=intervene, record=record)
        experts = torch.addcmul(self.shift, inputs.experts.standardised, self.scale)
        queries, keys, values = self._attention_inputs(experts[:, -1] if own is None else own, experts)
        mask = inputs.experts.mask
        if mask is not None:
            mask = mask.repeat(1, self.place.experts)[:, None, None]  # [B, 1, 1, N · L]
        if intervene is None and not record:
            attended = fused_attention(queries, keys, values, mask, scale=1.0)
            return WeightedSum(self._merge_heads(attended))
        logits = queries @ keys.transpose(2, 3)
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        attention = split_width(logits.softmax(-1), self.place.experts).unbind(3)  # N times [B, H, L, L]
        weights = torch.stack([part.sum(-1) for part in attention], 1).transpose(2, 3)
        weights = expand_groups(weights, self.place.width)
        values_of = values.chunk(self.place.experts, 2)
        terms = [self._merge_heads(part @ value) for part, value in zip(attention, values_of, strict=True)]
        if intervene is not None:
            changed = intervene(weights)
            factors = intervention_factors(weights, changed)
            terms, weights = [term * part for term, part in zip(terms, factors.unbind(1), strict=True)], changed
        return WeightedSum(functools.reduce(torch.add, terms), weights, stack_norms(terms) if record else None)

    def skipped_flops(self, own: int, other: int) -> int:  # noqa: ARG002 - the other modality is not read
        """Count the maps of keys and of values that one head avoids."""
        return (
            2 * skipped_level_flops(self.place.width, own, self.place.experts) if self.asks and self.heads == 1 else 0
        )

    def _attention_inputs(self, own: Tensor, experts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give queries [B, H, L, E], and keys and values [B, H, N · L, E]; E is D / H, or D with one head.

        One head needs no map of its N · L keys and values: W_q c · W_k r = (W_kᵀ W_q c) · r, and W_v comes after the
        sum. With several heads the maps cost less than products over the whole width in each.
        """
        query, embedded = self.query(own), experts + self.embedding
        if self.heads == 1:
            keys, values = (states.flatten(1, 2).unsqueeze(1) for states in (embedded, experts))
            return absorb_key_map(query, self.key.weight, 1), keys, values
        scale = (self.place.width / self.heads) ** -0.5
        parts = (query * scale, self.key(embedded).flatten(1, 2), self.value(experts).flatten(1, 2))
        query, key, value = (split_width(part, self.heads).transpose(1, 2) for part in parts)
        return query, key, value

    def _merge_heads(self, attended: Tensor) -> Tensor:
        """Concatenate the heads, [B, H, L, E] → [B, L, D]."""
        merged = attended.transpose(1, 2).flatten(2)
        return self.value(merged) if self.heads == 1 else merged
