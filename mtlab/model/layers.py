"""The cross-modal layer: self-attention, cross-attention, feed-forward, each followed by its LayerNorm.

Shapes: B examples, L own tokens, M tokens of the other modality, D width, H heads.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.attention import Attention
from mtlab.managers.base import pool_tokens


def to_full_precision(tensor: Tensor) -> Tensor:
    """Turn half precision, as autocast gives it, into float32; float64 stays."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


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
        class_token: whether token 0 is a class token.

    """

    def __init__(self, width: int, class_token: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.class_token = class_token

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Pool [B, L, D] to [B, D]; `mask` [B, L] is True at real tokens, None where all are."""
        pooled: Tensor = self.linear(pool_tokens(states, mask, class_token=self.class_token)).tanh()
        return pooled
