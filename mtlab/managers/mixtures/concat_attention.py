"""Attention over all tokens of all experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.managers.base import Experts, Intervention, Place, register_manager
from mtlab.managers.mixtures.attending import check_heads, sought
from mtlab.managers.mixtures.mixture import Mixed, Mixture, free_weight
from mtlab.managers.mixtures.terms import grouped, norms_of, spread, total


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
        """Options in the YAML."""

        heads: int = option(1, "attention heads; must divide the width", minimum=1)
        first: Literal["uniform", "top"] = option(
            "uniform", "at the first cross-modal layer: the mean of the experts, or attention asked by the top one"
        )
        weight: Literal["scalar", "vector"] = option(
            "vector", "weight of the previous state: one number, or one per dimension"
        )

    layer_weights: ClassVar[frozenset[str]] = frozenset({"previous_weight"})

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

    def weights(
        self,
        own: Tensor | None,  # noqa: ARG002
        other: Tensor | None,  # noqa: ARG002
        other_mask: Tensor | None,  # noqa: ARG002
        noise: Tensor | None,  # noqa: ARG002
    ) -> Tensor:
        """Weigh all experts alike where nothing asks, [1, N, 1, 1]."""
        return self.uniform

    def mixed(
        self,
        experts: Experts,
        own: Tensor | None,
        other: Tensor | None,
        other_mask: Tensor | None,
        *,
        noise: Tensor | None,
        intervene: Intervention | None,
        record: bool,
    ) -> Mixed:
        """Attend over all tokens of all experts, see `Mixture.mixed`."""
        if not self.asks:
            return super().mixed(experts, own, other, other_mask, noise=noise, intervene=intervene, record=record)
        held = torch.addcmul(self.shift, experts.standardised, self.scale)
        asked, keys, values = self._parts(held[:, -1] if own is None else own, held)
        seen = self._seen(experts.mask)
        if intervene is None and not record:
            found = F.scaled_dot_product_attention(asked, keys, values, attn_mask=seen, scale=1.0)
            return Mixed(self._out(found))
        logits = asked @ keys.transpose(2, 3)
        if seen is not None:
            logits = logits.masked_fill(~seen, -torch.inf)
        attention = grouped(logits.softmax(-1), self.place.experts).unbind(3)  # N times [B, H, L, L]
        weights = spread(torch.stack([part.sum(-1) for part in attention], 1).transpose(2, 3), self.place.width)
        of_experts = values.chunk(self.place.experts, 2)
        terms = [self._out(part @ value) for part, value in zip(attention, of_experts, strict=True)]
        if intervene is not None:
            given = intervene(weights)
            factor = torch.where(weights > 0, given / weights, torch.zeros_like(weights))
            terms, weights = [term * part for term, part in zip(terms, factor.unbind(1), strict=True)], given
        return Mixed(total(terms), weights, norms_of(terms) if record else None)

    def _parts(self, own: Tensor, held: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give queries [B, H, L, E], and keys and values [B, H, N · L, E]; E is D / H, or D with one head.

        One head needs no map of its N · L keys and values: W_q c · W_k r = (W_kᵀ W_q c) · r, and W_v comes after the
        sum. With several heads the maps cost less than products over the whole width in each.
        """
        query, told = self.query(own), held + self.embedding
        if self.heads == 1:
            return sought(query, self.key.weight, 1), told.flatten(1, 2).unsqueeze(1), held.flatten(1, 2).unsqueeze(1)
        scale = (self.place.width / self.heads) ** -0.5
        parts = (query * scale, self.key(told).flatten(1, 2), self.value(held).flatten(1, 2))
        query, key, value = (grouped(part, self.heads).transpose(1, 2) for part in parts)
        return query, key, value

    def _seen(self, mask: Tensor | None) -> Tensor | None:
        """Repeat the own mask [B, L] for each expert, [B, 1, 1, N · L]."""
        return mask.repeat(1, self.place.experts)[:, None, None] if mask is not None else None

    def _out(self, found: Tensor) -> Tensor:
        """Put together what the heads found, [B, H, L, E] → [B, L, D]."""
        together = found.transpose(1, 2).flatten(2)
        return self.value(together) if self.heads == 1 else together
