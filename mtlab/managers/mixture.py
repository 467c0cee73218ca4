"""What the managers of ManagerTower have in common: a mixture of normalised experts beside the previous state.

Shapes: B examples, N experts, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Experts, Intervention, Manager, Place


def mix(standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Compute Σ_n α_n ⊙ (r_n ⊙ γ_n + β_n), one expert after another, so that the N terms never stand side by side.

    Args:
        standardised: r, [B, N, L, D].
        weights: α, [B|1, N, L|1, D|1].
        scale: γ, [N, 1, D].
        shift: β, [N, 1, D].

    Returns:
        [B, L, D]. Elementwise work alone: it counts no FLOPs in the published arithmetic.

    """
    shared = weights.shape[0] == 1 and weights.shape[2] == 1  # by all tokens: the norm folds into the weights
    hidden = (weights * shift).sum(1)
    factors = (weights * scale).unbind(1) if shared else scale.unbind(0)
    for number, (expert, factor) in enumerate(zip(standardised.unbind(1), factors, strict=True)):
        if shared:
            hidden = torch.addcmul(hidden, expert, factor)
        else:
            hidden = torch.addcmul(hidden, expert * factor, weights[:, number])
    return hidden


def normed(standardised: Tensor, scale: Tensor, shift: Tensor) -> list[Tensor]:
    """Give every expert its own norm, N times [B, L, D]; arguments as of `mix`."""
    parts = zip(shift, standardised.unbind(1), scale, strict=True)
    return [torch.addcmul(bias, expert, factor) for bias, expert, factor in parts]


def mix_normed(experts: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Compute Σ_n α_n ⊙ r_n of experts normed before, N times [B, L, D], where the weights were made of them.

    Args:
        experts: r, N times [B, L, D].
        weights: α, [B|1, N, L|1, 1|H|D], each of H for D / H neighbouring dimensions.

    Returns:
        [B, L, D]

    """
    groups = weights.shape[-1]
    terms = [
        expert.unflatten(-1, (groups, -1)) * weight.unsqueeze(-1)
        for expert, weight in zip(experts, weights.unbind(1), strict=True)
    ]
    return functools.reduce(torch.add, terms).flatten(-2)


def spread(weights: Tensor, width: int) -> Tensor:
    """Write weights of groups of dimensions out for each dimension: [B|1, N, L|1, H] → [B|1, N, L|1, D]."""
    groups = weights.shape[-1]
    return weights if groups in (1, width) else weights.repeat_interleave(width // groups, -1)


class Mixture(Manager):
    """A convex mixture of normalised experts, plus the freely weighted, normalised previous state.

    out = Σ_n α_n ⊙ LN_n(U_n) + ω ⊙ LN(C), without the second term at the first cross-modal layer. A subclass gives α
    by `weights` and sets `previous_weight`. Source: ManagerTower (ACL 2023), section 3.3.
    """

    previous_weight: Tensor | None  #: ω, [1|D]; None at the first cross-modal layer

    def __init__(self, config: object, place: Place) -> None:
        super().__init__(config, place)
        self.scale = nn.Parameter(torch.ones(place.experts, 1, place.width))
        self.shift = nn.Parameter(torch.zeros(place.experts, 1, place.width))
        self.previous_norm = nn.LayerNorm(place.width) if place.depth else None

    def weights(
        self, own: Tensor | None, other: Tensor | None, other_mask: Tensor | None, noise: Tensor | None
    ) -> Tensor:
        """Weigh the experts: α, [B|1, N, L|1, D|1], summing to one over N.

        Args:
            own: the normalised previous state, [B, L, D]; None at the first cross-modal layer.
            other: the other modality's previous state, [B, M, D]; None at the first cross-modal layer.
            other_mask: True at real tokens of `other`, [B, M].
            noise: added to the scores, [B, N, L, D].

        """
        raise NotImplementedError

    def mixed(
        self,
        experts: Experts,
        own: Tensor | None,
        other: Tensor | None,
        other_mask: Tensor | None,
        noise: Tensor | None,
        intervene: Intervention | None,
    ) -> tuple[Tensor, Tensor]:
        """Weigh and mix the experts: Σ_n α_n ⊙ LN_n(U_n), [B, L, D], and α, [B|1, N, L|1, 1|H|D] (H divides D).

        Overridden by managers whose weights depend on what the experts hold; arguments as of `weights` and `forward`.
        """
        weights = self.weights(own, other, other_mask, noise)
        if intervene is not None:
            weights = intervene(weights)
        return mix(experts.standardised, weights, self.scale, self.shift), weights

    def forward(
        self,
        experts: Experts,
        history: Sequence[Tensor],
        other: Tensor | None,
        other_mask: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        intervene: Intervention | None = None,
        record: bool = False,
    ) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        own = self.previous_norm(history[-1]) if self.previous_norm is not None else None
        hidden, weights = self.mixed(experts, own, other, other_mask, noise, intervene)
        previous = None if own is None or self.previous_weight is None else self.previous_weight * own
        if previous is not None:
            hidden = hidden + previous
        if not record:
            return Aggregated(hidden)
        weights = spread(weights, self.place.width)
        return Aggregated(hidden, self._recorded(weights), self._contributions(experts, weights, previous))

    @torch.no_grad()
    def _recorded(self, weights: Tensor) -> Tensor:
        """Give the previous state's weight a row below the experts', [B|1, N + P, L|1, D|1]."""
        if self.previous_weight is None:
            return weights.detach()
        width = max(weights.shape[-1], self.previous_weight.shape[-1])
        row = self.previous_weight.expand(weights.shape[0], 1, weights.shape[2], width)
        return torch.cat([weights.expand(-1, -1, -1, width), row], 1).detach()

    @torch.no_grad()
    def _contributions(self, experts: Experts, weights: Tensor, previous: Tensor | None) -> Tensor:
        """Share each term's norm in the sum of norms, [B, N + P, L]."""
        terms = weights * (experts.standardised * self.scale + self.shift)
        norms: Tensor = torch.linalg.vector_norm(terms, dim=-1)
        if previous is not None:
            norms = torch.cat([norms, torch.linalg.vector_norm(previous, dim=-1).unsqueeze(1)], 1)
        return norms / norms.sum(1, keepdim=True)


class LearnedMixture(Mixture):
    """A mixture weighed by the softmax of scores over a learned temperature; subclasses give the scores."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        weight: Literal["scalar", "vector"] = option(
            "vector", "one weight per expert, or one per expert and dimension (adaptive: of the previous state alone)"
        )
        temperature: float = option(1.0, "initial softmax temperature, learned from there", above=0.0)
        noise: float = option(
            0.0, "standard deviation of the training noise on the scores, in units of 1/N (published: 1)", minimum=0.0
        )

    layer_weights: ClassVar[frozenset[str]] = frozenset({"score", "previous_weight"})

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.cells = place.width if config.weight == "vector" else 1
        self.noise_scale = config.noise / place.experts
        self.temperature = nn.Parameter(torch.tensor(float(config.temperature)))
        self.previous_weight = nn.Parameter(torch.ones(self.cells)) if place.depth else None

    def uniform_score(self) -> nn.Parameter:
        """Make scores that give every expert the same weight, as published: 1/N each, [1, N, 1, 1|D]."""
        return nn.Parameter(torch.full((1, self.place.experts, 1, self.cells), 1 / self.place.experts))

    def scores(self, own: Tensor | None, other: Tensor | None, other_mask: Tensor | None) -> Tensor:
        """Score the experts, [B|1, N, L|1, D|1]; arguments as of `weights`."""
        raise NotImplementedError

    def weights(
        self, own: Tensor | None, other: Tensor | None, other_mask: Tensor | None, noise: Tensor | None
    ) -> Tensor:
        """Weigh the experts by the softmax of their scores, see `Mixture.weights`."""
        scores = self.scores(own, other, other_mask)
        if noise is not None:
            scores = scores + noise
        return (scores / self.temperature).softmax(1)
