"""The terms of a mixture one by one: weighted states, their sum, and what is recorded of them.

Shapes: B examples, N experts, P previous states, L own tokens, D width, H groups of neighbouring dimensions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


def normed(standardised: Tensor, scale: Tensor, shift: Tensor) -> list[Tensor]:
    """Give every expert its own norm, N times [B, L, D]; arguments as of `mixing.mix`."""
    parts = zip(shift, standardised.unbind(1), scale, strict=True)
    return [torch.addcmul(bias, expert, factor) for bias, expert, factor in parts]


def grouped(states: Tensor, groups: int) -> Tensor:
    """Split the last dimension into H groups of neighbours, [..., D] → [..., H, D / H]."""
    return states.view(*states.shape[:-1], groups, -1)


def weighted(states: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Compute the terms α_n ⊙ r_n of states normed before.

    Args:
        states: r, N times [B, L, D].
        weights: α, [B|1, N, L|1, 1|H|D], each of H for D / H neighbouring dimensions.

    Returns:
        N times [B, L, D], of the states' type.

    """
    parts = [(state, part.to(state.dtype)) for state, part in zip(states, weights.unbind(1), strict=True)]
    return [(grouped(state, part.shape[-1]) * part.unsqueeze(-1)).flatten(-2) for state, part in parts]


def total(terms: Sequence[Tensor]) -> Tensor:
    """Add terms up one after another."""
    return functools.reduce(torch.add, terms)


def spread(weights: Tensor, width: int) -> Tensor:
    """Write weights of groups of dimensions out for each dimension: [B|1, N, L|1, H] → [B|1, N, L|1, D]."""
    groups = weights.shape[-1]
    return weights if groups in (1, width) else weights.repeat_interleave(width // groups, -1)


@torch.no_grad()
def rows_of(weights: Tensor, previous: Tensor | None, width: int) -> Tensor:
    """Put the previous states' weights below the experts', detached, for recording.

    Args:
        weights: of the experts, [B|1, N, L|1, 1|H|D].
        previous: of the previous states, [B|1, P, L|1, 1|D]; None where there are none.
        width: D.

    Returns:
        [B|1, N + P, L|1, 1|D]

    """
    weights = spread(weights, width).detach()
    if previous is None:
        return weights
    batch, length, cells = (max(weights.shape[d], previous.shape[d]) for d in (0, 2, 3))
    parts = [part.expand(batch, -1, length, cells) for part in (weights, previous.detach())]
    return torch.cat(parts, 1)


@torch.no_grad()
def shares(norms: Tensor, previous: Sequence[Tensor]) -> Tensor:
    """Share each term's norm in the sum of norms: the contributions.

    Args:
        norms: Euclidean norms over D of the experts' terms, [B, N, L].
        previous: the previous states' terms, P times [B, L, D].

    Returns:
        [B, N + P, L], detached.

    """
    below = [torch.linalg.vector_norm(term, dim=-1).unsqueeze(1) for term in previous]
    norms = torch.cat([norms, *below], 1).detach()
    return norms / norms.sum(1, keepdim=True)


@torch.no_grad()
def mixed_norms(standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Measure the terms that `mixing.mix` adds up: Euclidean norms over D, [B, N, L]; arguments as of it."""
    norms: Tensor = torch.linalg.vector_norm(weights * (standardised * scale + shift), dim=-1)
    return norms


def norms_of(terms: Sequence[Tensor]) -> Tensor:
    """Measure terms, N times [B, L, D] → Euclidean norms over D, [B, N, L], detached."""
    return torch.stack([torch.linalg.vector_norm(term.detach(), dim=-1) for term in terms], 1)
