"""Multi-head attention, as cross-modal layers and some managers use it.

Shapes: B examples, L own tokens, M tokens of the other modality, D width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention with dropout on the attention and on the projected output.

    Args:
        width: D, of queries, keys and output.
        heads: H; divides D.
        dropout: probability of dropping.

    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from `queries` [B, L, D] to `context` [B, M, D] where `mask` [B, M] is True; return [B, L, D]."""
        query = self._split(self.query(queries))
        key, value = (self._split(part) for part in self.key_value(context).chunk(2, -1))
        attended = attend(query, key, value, mask, self.dropout if self.training else 0.0)
        projected: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return F.dropout(projected, self.dropout, self.training)

    def forward_with_weights(self, queries: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend as `forward`, without dropout; return [B, L, D], and the attention weights [B, H, L, M]."""
        query = self._split(self.query(queries))
        key, value = (self._split(part) for part in self.key_value(context).chunk(2, -1))
        logits = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, None, :].bool(), -torch.inf)
        weights = logits.softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2)), weights

    def _split(self, states: Tensor) -> Tensor:
        """Split the width into heads, [B, H, L, D / H]."""
        return states.view(*states.shape[:-1], self.heads, -1).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attend by H heads, each [B, H, L or M, D / H], where `mask` [B, M] is True, with dropout on the weights.

    By torch's fused kernel, except with dropout on a CPU, where it has none: its fallback computes in float32 whatever
    the input, checks for rows without a single key, and scales queries and keys separately.
    """
    mask = mask[:, None, None, :] if mask is not None else None
    if not dropout or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    logits = (query / query.shape[-1] ** 0.5) @ key.transpose(2, 3)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return F.dropout(logits.softmax(-1), dropout) @ value
