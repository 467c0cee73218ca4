"""Entropy of the cross-modal layers' attention, as a share of its maximum.

The fused attention of training gives no weights: they are computed here again from the managers' outputs.

Shapes: B examples, H heads, L queries, M keys.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlab.managers.base import MODALITIES, Modality
from mtlab.model.encoder import CrossModalEncoder, Key
from mtlab.model.layers import CrossModalLayer

CELLS = 2**22  #: attention weights held at once: more are computed a few examples at a time


@dataclass(frozen=True)
class EntropySum:
    """Sum of the entropies of one attention, to be averaged over batches."""

    total: Tensor  #: summed over real queries with two keys or more, each divided by ln of its keys, float64 [H]
    queries: int  #: how many these are

    def __add__(self, other: EntropySum) -> EntropySum:
        return EntropySum(self.total + other.total, self.queries + other.queries)


@dataclass(frozen=True)
class LayerEntropies:
    """Entropies of one cross-modal layer."""

    own: EntropySum  #: self-attention
    cross: EntropySum  #: attention to the other modality


def measure_entropies(
    encoder: CrossModalEncoder, hidden: Mapping[Key, Tensor], masks: Mapping[Modality, Tensor | None]
) -> dict[Key, LayerEntropies]:
    """Measure every cross-modal layer.

    Args:
        encoder: in evaluation mode.
        hidden: the output of each manager, float32 [B, L, D].
        masks: True at real tokens, [B, L]; None: all are real.

    """
    found: dict[Key, LayerEntropies] = {}
    for (modality, depth), own in hidden.items():
        other: Modality = MODALITIES[1 - MODALITIES.index(modality)]
        layer = encoder.layer(modality, depth)
        found[modality, depth] = _of_layer(layer, own, hidden[other, depth], masks[modality], masks[other])
    return found


def _of_layer(
    layer: CrossModalLayer, own: Tensor, other: Tensor, own_mask: Tensor | None, other_mask: Tensor | None
) -> LayerEntropies:
    batch, length, keys = *own.shape[:2], max(own.shape[1], other.shape[1])
    several = max(1, CELLS // (layer.self_attention.heads * length * keys))
    parts = []
    for at in range(0, batch, several):
        rows = slice(at, at + several)
        mask, seen = (None if each is None else each[rows].bool() for each in (own_mask, other_mask))
        found, to_own = layer.self_attention.forward_with_weights(own[rows], own[rows], mask)
        _, to_other = layer.cross_attention.forward_with_weights(layer.self_norm(own[rows] + found), other[rows], seen)
        parts.append(LayerEntropies(_spread(to_own, mask, mask), _spread(to_other, mask, seen)))
    return LayerEntropies(total(part.own for part in parts), total(part.cross for part in parts))


def total(parts: Iterable[EntropySum]) -> EntropySum:
    """Sum the parts of one attention."""
    return functools.reduce(EntropySum.__add__, parts)


def _spread(weights: Tensor, real: Tensor | None, seen: Tensor | None) -> EntropySum:
    """Measure attention weights, [B, H, L, M], of the `real` queries, [B, L], to the keys that are `seen`, [B, M]."""
    batch, _, length, keys = weights.shape
    visible = torch.full((batch,), keys, device=weights.device) if seen is None else seen.sum(1)
    counts = (visible > 1).view(-1, 1).expand(-1, length)
    counts = counts if real is None else counts & real
    entropy = torch.special.entr(weights).sum(-1) / visible.log().view(-1, 1, 1)  # [B, H, L]
    chosen = torch.where(counts.unsqueeze(1), entropy, 0.0)
    return EntropySum(chosen.sum((0, 2), dtype=torch.float64).cpu(), int(counts.sum()))
