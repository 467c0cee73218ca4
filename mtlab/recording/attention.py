"""Entropy of the cross-modal layers' attention, as a share of its maximum.

The fused attention of training gives no weights: they are computed here again from the managers' outputs.

Shapes: B examples, H heads, L queries, M keys.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from operator import add

import torch
from torch import Tensor

from mtlab.managers.base import MODALITIES, Modality
from mtlab.model.base import Encoder, ManagerKey
from mtlab.model.encoder import CrossModalEncoder
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
    encoder: Encoder, hidden: Mapping[ManagerKey, Tensor], masks: Mapping[Modality, Tensor | None]
) -> dict[ManagerKey, LayerEntropies]:
    """Measure every cross-modal layer; nothing of a language model, whose tokens all attend to one another.

    Args:
        encoder: in evaluation mode.
        hidden: the output of each manager, float32 [B, L, D].
        masks: True at real tokens, [B, L]; None: all are real.

    """
    entropies: dict[ManagerKey, LayerEntropies] = {}
    if not isinstance(encoder, CrossModalEncoder):
        return entropies
    inputs = {key: encoder.layer_input(*key, each) for key, each in hidden.items()}
    for (modality, depth), own in inputs.items():
        if depth == encoder.config.cross_layers:  # a manager that mixes the output: no layer follows
            continue
        other: Modality = MODALITIES[1 - MODALITIES.index(modality)]
        layer = encoder.layer(modality, depth)
        entropies[modality, depth] = measure_layer(layer, own, inputs[other, depth], masks[modality], masks[other])
    return entropies


def measure_layer(
    layer: CrossModalLayer, own: Tensor, other: Tensor, own_mask: Tensor | None, other_mask: Tensor | None
) -> LayerEntropies:
    """Measure one cross-modal layer; arguments as of `CrossModalLayer.forward`."""
    examples, length, keys = *own.shape[:2], max(own.shape[1], other.shape[1])
    size = max(1, CELLS // (layer.self_attention.heads * length * keys))
    self_parts, cross_parts = [], []
    for start in range(0, examples, size):
        rows = slice(start, start + size)
        queries, keys_mask = (None if mask is None else mask[rows].bool() for mask in (own_mask, other_mask))
        output, weights = layer.self_attention.forward_with_weights(own[rows], own[rows], queries)
        self_parts.append(_sum_entropies(weights, queries, queries))
        attended = layer.self_norm(own[rows] + output)
        _, weights = layer.cross_attention.forward_with_weights(attended, other[rows], keys_mask)
        cross_parts.append(_sum_entropies(weights, queries, keys_mask))
    return LayerEntropies(functools.reduce(add, self_parts), functools.reduce(add, cross_parts))


def _sum_entropies(weights: Tensor, queries: Tensor | None, keys: Tensor | None) -> EntropySum:
    """Sum the entropies of attention weights, [B, H, L, M], over real queries, [B, L], with masked keys, [B, M]."""
    batch, _, length, whole = weights.shape
    visible = torch.full((batch,), whole, device=weights.device) if keys is None else keys.sum(1)
    counts = (visible > 1).view(-1, 1).expand(-1, length)
    counts = counts if queries is None else counts & queries
    entropy = torch.special.entr(weights).sum(-1) / visible.log().view(-1, 1, 1)  # [B, H, L]
    chosen = torch.where(counts.unsqueeze(1), entropy, 0.0)
    return EntropySum(chosen.sum((0, 2), dtype=torch.float64).cpu(), int(counts.sum()))
