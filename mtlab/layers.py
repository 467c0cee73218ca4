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
        return F.dropout(self.mapped(states), self.dropout, self.training)

    def of_one(self, state: Tensor, length: int) -> Tensor:
        """Map the first of `length` tokens alone, [B, 1, D], as `forward` does."""
        shape = (len(state), length, state.shape[-1])
        return dropped(self.mapped(state), self.dropout, self.training, shape)

    def mapped(self, states: Tensor) -> Tensor:
        """Map each token without dropout, [B, L, D] → [B, L, D]."""
        mapped: Tensor = self.narrow(F.gelu(self.widen(states)))
        return mapped


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

    def of_one(self, own: Tensor, other: Tensor, own_mask: Tensor | None, other_mask: Tensor | None) -> Tensor:
        """Run the layer for the first token alone, such as a class token: [B, 1, D]. Arguments as of `forward`.

        It is what `forward` gives there, to rounding, for next to no work.
        """
        length, token = own.shape[1], own[:, :1]
        attended = self.self_norm(token + self.self_attention.of_one(token, own, own_mask, length))
        crossed = self.cross_norm(attended + self.cross_attention.of_one(attended, other, other_mask, length))
        out: Tensor = self.out_norm(crossed + self.feed_forward.of_one(crossed, length))
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
