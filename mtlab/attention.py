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

    def of_one(self, query: Tensor, context: Tensor, mask: Tensor | None, length: int) -> Tensor:
        """Attend from the first of `length` queries alone, [B, 1, D], as `forward` does: [B, 1, D].

        The maps of keys and values are taken over to the query, W_q q · W_k c = (W_kᵀ W_q q) · c, and to what is found,
        Σ a W_v c = W_v Σ a c: a single query thus costs no matrix product over the context. (The keys' bias is left
        out: it shifts all logits of a query alike.)
        """
        width, split = query.shape[-1], (self.heads, query.shape[-1] // self.heads)
        to_key, to_value = self.key_value.weight.view(2, *split, width)
        asked = self.query(query).view(-1, *split) / split[1] ** 0.5
        sought = torch.einsum("bhk,hkd->bhd", asked, to_key)
        logits = sought @ context.transpose(1, 2)  # [B, H, M]
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, :], -torch.inf)
        weights = logits.softmax(-1)
        shape = (len(query), self.heads, length, context.shape[1])
        weights = dropped(weights.unsqueeze(2), self.dropout, self.training, shape).squeeze(2)
        found = torch.einsum("bhd,hkd->bhk", weights @ context, to_value)
        bias = self.key_value.bias[width:].view(split)
        projected = self.out((found + weights.sum(-1, keepdim=True) * bias).flatten(1)).unsqueeze(1)
        return dropped(projected, self.dropout, self.training, (len(query), length, width))

    def weighed(self, queries: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend as `forward`, but with the weights in hand, and without dropout: [B, L, D], and them [B, H, L, M]."""
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

    Fused, but with dropout on a CPU, for which torch has no fused kernel: what it falls back on computes in float32
    whatever it is given, looks for rows without a single key, and scales queries and keys apart.
    """
    seen = mask[:, None, None, :] if mask is not None else None
    if not dropout or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=dropout)
    logits = (query / query.shape[-1] ** 0.5) @ key.transpose(2, 3)
    if seen is not None:
        logits = logits.masked_fill(~seen, -torch.inf)
    return F.dropout(logits.softmax(-1), dropout) @ value


def dropped(states: Tensor, probability: float, training: bool, shape: tuple[int, ...]) -> Tensor:
    """Drop from the first row of what would be a tensor of `shape`, its last dimension but one being rows.

    The random numbers are drawn for all of it, as many as `F.dropout` draws (to the bit on a CPU): what is trained does
    not depend on which rows are left out.

    Args:
        states: the first row alone, [..., 1, D].
        probability: of dropping.
        training: else nothing is dropped.
        shape: of the whole.

    """
    if not training or not probability:
        return states
    kept = torch.empty(shape, dtype=states.dtype, device=states.device).bernoulli_(1 - probability)
    return states * kept[..., :1, :].div(1 - probability)
