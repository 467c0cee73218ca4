"""The cross-modal layer: self-attention, cross-attention, feed-forward, each followed by its LayerNorm.

Shapes: B examples, L own tokens, M tokens of the other modality, D width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def full(tensor: Tensor) -> Tensor:
    """Turn half precision, as autocast gives it, into float32; float64 stays."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


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
        seen = mask[:, None, None, :] if mask is not None else None
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=dropout)
        projected: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return F.dropout(projected, self.dropout, self.training)

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


class FeedForward(nn.Module):
    """Two linear maps with a GELU (by erf) between them, and dropout on the output.

    Args:
        width: D.
        ratio: inner width, in widths.
        dropout: probability of dropping.

    """

    def __init__(self, width: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.widen = nn.Linear(width, ratio * width)
        self.narrow = nn.Linear(ratio * width, width)
        self.dropout = dropout

    def forward(self, states: Tensor) -> Tensor:
        """Map each token, [B, L, D] → [B, L, D]."""
        return F.dropout(self.narrow(F.gelu(self.widen(states))), self.dropout, self.training)


class CrossModalLayer(nn.Module):
    """One modality's layer of one depth. The other modality's layer runs beside it, on the same pair of inputs.

    Post-norm, three sub-layers in this order: self-attention, cross-attention to the other modality's input of this
    depth, feed-forward. Source: METER (CVPR 2022), co-attention; the same in BridgeTower and ManagerTower.

    Args:
        width: D.
        heads: H; divides D.
        ratio: inner width of the feed-forward sub-layer, in widths.
        dropout: probability of dropping, on attention and after each sub-layer.
        norm_eps: epsilon of the three LayerNorms.

    """

    def __init__(self, width: int, heads: int, ratio: int, dropout: float, norm_eps: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads, dropout)
        self.self_norm = nn.LayerNorm(width, norm_eps)
        self.cross_attention = Attention(width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width, norm_eps)
        self.feed_forward = FeedForward(width, ratio, dropout)
        self.out_norm = nn.LayerNorm(width, norm_eps)

    def forward(self, own: Tensor, other: Tensor, own_mask: Tensor | None, other_mask: Tensor | None) -> Tensor:
        """Run the layer; a padded token (mask False) is never attended.

        Args:
            own: this modality's states, [B, L, D].
            other: the other modality's states, [B, M, D].
            own_mask: True at real tokens of `own`, [B, L]; None: all are real.
            other_mask: True at real tokens of `other`, [B, M]; None: all are real.

        Returns:
            [B, L, D]

        """
        attended = self.self_norm(own + self.self_attention(own, own, own_mask))
        crossed = self.cross_norm(attended + self.cross_attention(attended, other, other_mask))
        out: Tensor = self.out_norm(crossed + self.feed_forward(crossed))
        return out


class Pooler(nn.Module):
    """One vector for a whole sequence: tanh(W s + b), s its class token or else the mean of its real tokens.

    Args:
        width: D.
        class_token: is token 0 a summary of the whole?

    """

    def __init__(self, width: int, class_token: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.class_token = class_token

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Pool [B, L, D] to [B, D]; `mask` [B, L] is True at real tokens, None where all are."""
        pooled: Tensor = self.linear(summary(states, mask, class_token=self.class_token)).tanh()
        return pooled


def summary(states: Tensor, mask: Tensor | None, *, class_token: bool) -> Tensor:
    """Take the class token of [B, L, D], or else the mean of the real tokens (`mask` [B, L]; None: all are): [B, D]."""
    if class_token:
        return states[:, 0]
    if mask is None:
        return states.mean(1)
    real = mask.unsqueeze(-1).to(states)
    return (states * real).sum(1) / real.sum(1)
