"""The fused query: what a token sees in the other modality, beside its own previous state.

Shapes: B examples, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attend by one head: queries [B, L, D] to keys and values [B, M, D] where `mask` [B, M] is True; [B, L, D]."""
    seen = mask.unsqueeze(1) if mask is not None else None
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)


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
        found = attended(self.query(own), self.key(other), other, other_mask if self.masked else None)
        return torch.cat([found, own], -1)
