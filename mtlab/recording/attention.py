"""How widely the cross-modal layers attend: the entropy of their attention, as a share of the most that it can be.

The fused attention of training gives no weights: they are computed here again, from what the managers hand to each
layer. Shapes: B examples, H heads, L queries, M keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mtlab.encoder import CrossModalEncoder, Key
from mtlab.layers import Attention, CrossModalLayer
from mtlab.managers.base import MODALITIES, Modality

CELLS = 2**22  #: attention weights that stand side by side: more are computed a few examples at a time


class Spread(NamedTuple):
    """Entropies of one attention, to be averaged over batches."""

    total: Tensor  #: summed over real queries with two keys or more, each divided by ln of its keys, float64 [H]
    queries: int  #: how many these are


class Entropies(NamedTuple):
    """Of one cross-modal layer."""

    own: Spread  #: self-attention
    cross: Spread  #: attention to the other modality


def entropies(
    encoder: CrossModalEncoder, hidden: Mapping[Key, Tensor], masks: Mapping[Modality, Tensor | None]
) -> dict[Key, Entropies]:
    """Measure every cross-modal layer.

    Args:
        encoder: in evaluation mode.
        hidden: what each manager hands to its layer, float32 [B, L, D].
        masks: True at real tokens, [B, L]; None: all are real.

    """
    found: dict[Key, Entropies] = {}
    for (modality, depth), own in hidden.items():
        other: Modality = MODALITIES[1 - MODALITIES.index(modality)]
        layer = encoder.layer(modality, depth)
        found[modality, depth] = _of_layer(layer, own, hidden[other, depth], masks[modality], masks[other])
    return found


def _of_layer(
    layer: CrossModalLayer, own: Tensor, other: Tensor, own_mask: Tensor | None, other_mask: Tensor | None
) -> Entropies:
    attended = layer.self_norm(own + layer.self_attention(own, own, own_mask))
    return Entropies(
        _spread(layer.self_attention, own, own, own_mask, own_mask),
        _spread(layer.cross_attention, attended, other, own_mask, other_mask),
    )


def _spread(attention: Attention, queries: Tensor, context: Tensor, real: Tensor | None, seen: Tensor | None) -> Spread:
    batch, length, keys = *queries.shape[:2], context.shape[1]
    several = max(1, CELLS // (attention.heads * length * keys))
    total = torch.zeros(attention.heads, dtype=torch.float64, device=queries.device)
    counted = 0
    for at in range(0, batch, several):
        rows = slice(at, at + several)
        mask = None if seen is None else seen[rows]
        weights = attention.weights(queries[rows], context[rows], mask)
        most = _log_keys(mask, len(weights), keys, weights)
        measured = torch.special.entr(weights).sum(-1) / most.view(-1, 1, 1)  # [B, H, L]
        counts = (most > 0).view(-1, 1).expand(-1, length)
        counts = counts if real is None else counts & real[rows].bool()
        total += torch.where(counts.unsqueeze(1), measured, 0.0).sum((0, 2), dtype=torch.float64)
        counted += int(counts.sum())
    return Spread(total.cpu(), counted)


def _log_keys(mask: Tensor | None, batch: int, keys: int, like: Tensor) -> Tensor:
    """Give ln of the number of keys that may be seen, [B]."""
    visible = torch.full((batch,), float(keys), device=like.device) if mask is None else mask.sum(1).to(like)
    return visible.log()
