"""Multi-head attention, as cross-modal layers and some managers use it.

Shapes: B examples, L own tokens, M tokens of the other modality, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.matmul import default_matmul

SMALL_PRODUCT = 16**3  #: multiplications of a product that torch leaves to its default library in any case


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
        self.recomputed = False  #: whether activations are computed again in the backward pass, not to keep them
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from `queries` [B, L, D] to `context` [B, M, D] where `mask` [B, M] is True; return [B, L, D]."""
        query = self._split(self.query(queries))
        key, value = (self._split(part) for part in self.key_value(context).chunk(2, -1))
        dropout = self.dropout if self.training else 0.0
        attended = attend(query, key, value, mask, dropout, recomputed=self.recomputed)
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


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, *, recomputed: bool = False
) -> Tensor:
    """Attend by H heads, each [B, H, L or M, D / H], where `mask` [B, M] is True, with dropout on the weights.

    By torch's fused kernel, except with dropout on a CPU, where it has none: its fallback computes in float32 whatever
    the input, checks for rows without a single key, and scales queries and keys separately. `recomputed`: as of
    `fused_attention`.
    """
    mask = mask[:, None, None, :] if mask is not None else None
    if not dropout:
        return fused_attention(query, key, value, mask, recomputed=recomputed)
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    logits = (query / query.shape[-1] ** 0.5) @ key.transpose(2, 3)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return F.dropout(logits.softmax(-1), dropout) @ value


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scale: float | None = None,
    recomputed: bool = False,
) -> Tensor:
    """Attend by torch's fused kernel, in narrow heads as fast within `fast_matmul` as without.

    On a CPU that kernel takes the products of each head by themselves. Within `fast_matmul` oneDNN takes them, unless
    they are very small, and is much slower than torch's default library at products of that size.

    Args:
        query: [..., L, D].
        key: [..., M, D].
        value: [..., M, V].
        mask: True where to attend, or added to the logits, [..., L or 1, M]; None: everywhere.
        scale: what the logits are multiplied by; None: 1 / √D.
        recomputed: attend again in the backward pass instead of keeping what it needs, within `checkpoint`.

    Returns:
        [..., L, V]

    """
    concerned = query.dtype == torch.float32 and query.device.type == "cpu" and not torch.compiler.is_compiling()
    small = query.shape[-2] * key.shape[-2] * query.shape[-1] <= SMALL_PRODUCT
    if small or not concerned or torch.get_float32_matmul_precision() == "highest":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    attended: Tensor = _DefaultAttention.apply(query, key, value, mask, scale, recomputed)  # type: ignore[no-untyped-call]  # torch
    return attended


class _DefaultAttention(torch.autograd.Function):
    """The fused kernel within `default_matmul`, forward and backward."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Attend; arguments as of `fused_attention`."""
        *tensors, ctx.scale, recomputed = inputs
        own, attended = _attend_by_default(tensors, ctx.needs_input_grad, ctx.scale)
        ctx.kept = None if recomputed else (own, attended)
        if recomputed:
            ctx.save_for_backward(*tensors)  # whose bytes `checkpoint` drops, unlike attributes'
        return attended.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients of query, key, value and mask."""
        own, attended = ctx.kept or _attend_by_default(ctx.saved_tensors, ctx.needs_input_grad, ctx.scale)
        wanted = [each for each in own if each is not None and each.requires_grad]
        with default_matmul():
            found = iter(torch.autograd.grad(attended, wanted, gradients))
        return *(next(found) if each is not None and each.requires_grad else None for each in own), None, None


def _attend_by_default(
    tensors: Sequence[Any], differentiable: Sequence[bool], scale: float | None
) -> tuple[Sequence[Any], Tensor]:
    """Attend within `default_matmul`; return copies of the inputs without a past, and the output, with their graph."""
    own: list[Any] = [
        each if each is None else each.detach().requires_grad_(wanted)
        for each, wanted in zip(tensors, differentiable, strict=False)  # whose last ones are no tensors'
    ]
    query, key, value, mask = own
    with default_matmul(), torch.enable_grad():
        return own, F.scaled_dot_product_attention(query, key, value, mask, scale=scale)
