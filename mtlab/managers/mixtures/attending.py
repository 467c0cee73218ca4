"""What managers share that attend: the fused query, and a likeness to many keys for the price of one key map.

Shapes: B examples, L own tokens, M tokens of the other modality, D width, V of the values, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.errors import UserError
from mtlab.managers.mixtures.terms import grouped


def attended(
    own: Tensor, other: Tensor, query: nn.Linear, key: nn.Linear, values: Tensor, mask: Tensor | None
) -> Tensor:
    """Attend by one head from own tokens to the other modality's: softmax_m((Q c + q) · K o_m / √D) v_m.

    The fewer tokens go through both maps, the others through none: Kᵀ (Q c + q) · o or c · Qᵀ K o + q · K o, so that
    2 min(L, M) tokens are mapped in place of L + M. A bias of the keys would shift all of a query's logits alike: it is
    left out.

    Args:
        own: c, [B, L, D].
        other: o, [B, M, D].
        query: Q and q, D → D.
        key: K, D → D.
        values: v, [B, M, V].
        mask: True at real tokens of `other`, [B, M]; None: all are real.

    Returns:
        [B, L, V]

    """
    seen = mask.unsqueeze(1) if mask is not None else None
    if own.shape[1] < other.shape[1]:
        queries = F.linear(query(own), key.weight.t())
        return F.scaled_dot_product_attention(queries, other, values, attn_mask=seen)
    keys = F.linear(other, key.weight)
    shift = (keys @ query.bias).unsqueeze(1) / math.sqrt(own.shape[-1])
    if seen is not None:
        shift = shift.masked_fill(~seen, -torch.inf)
    return F.scaled_dot_product_attention(own, F.linear(keys, query.weight.t()), values, attn_mask=shift)


def spared(width: int, own: int, other: int) -> int:
    """Count the FLOPs that `attended` gets around: all L own tokens through Q, all M of the other through K."""
    return 2 * width * width * (own + other - 2 * min(own, other))


def sought(queries: Tensor, key: Tensor, heads: int) -> Tensor:
    """Take queries through the key map in place of the keys: W_q c · W_k r = (W_kᵀ W_q c) · r, head by head.

    Many keys of few queries thus cost no matrix product each.

    Args:
        queries: W_q c, [B, L, D].
        key: W_k, [D, D].
        heads: H, divides D.

    Returns:
        [B, H, L, D], over √(D / H): its products with unmapped keys are the logits.

    """
    split = grouped(queries, heads) / math.sqrt(queries.shape[-1] / heads)
    return torch.einsum("blhk,hkd->bhld", split, key.view(heads, -1, key.shape[1]))


def check_heads(heads: int, width: int) -> None:
    """Refuse heads that do not divide the width.

    Raises:
        UserError: with the key `heads`.

    """
    if width % heads:
        allowed = ", ".join(str(number) for number in range(1, width + 1) if width % number == 0)
        raise UserError(f"{heads} heads do not divide width {width}; allowed: {allowed}", key="heads")


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
        found = attended(own, other, self.query, self.key, other, other_mask if self.masked else None)
        return torch.cat([found, own], -1)
