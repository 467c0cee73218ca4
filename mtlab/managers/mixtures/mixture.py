"""What the managers of ManagerTower have in common: a mixture of normalised experts beside the previous state.

Shapes: B examples, N experts, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Experts, Intervention, Manager, Place
from mtlab.managers.choice import one_hot
from mtlab.managers.mixtures.mixing import mix
from mtlab.managers.mixtures.terms import mixed_norms, rows_of, shares

AHEAD = 3.0  #: the top expert's lead in score where it starts ahead: nine tenths of the weight, of three experts


class Mixed(NamedTuple):
    """The experts' part of a mixture."""

    hidden: Tensor  #: Σ_n of the experts' terms, [B, L, D]
    weights: Tensor | None = None  #: α, [B|1, N, L|1, 1|H|D], each of H for D / H neighbouring dimensions
    norms: Tensor | None = None  #: Euclidean norm over D of each expert's term, [B, N, L]; None unless recorded


def free_weight(weight: Literal["scalar", "vector"], place: Place) -> nn.Parameter | None:
    """Make the previous state's weight ω, [1|D], 1 at the start; None at the first cross-modal layer."""
    return nn.Parameter(torch.ones(place.width if weight == "vector" else 1)) if place.depth else None


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
        *,
        noise: Tensor | None,
        intervene: Intervention | None,
        record: bool,
    ) -> Mixed:
        """Weigh and mix the experts; overridden where the weights depend on what the experts hold.

        Arguments as of `weights` and `forward`.
        """
        weights = self.weights(own, other, other_mask, noise)
        if intervene is not None:
            weights = intervene(weights)
        hidden = mix(experts.standardised, weights, self.scale, self.shift)
        norms = mixed_norms(experts.standardised, weights, self.scale, self.shift) if record else None
        return Mixed(hidden, weights, norms)

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
        mixed = self.mixed(experts, own, other, other_mask, noise=noise, intervene=intervene, record=record)
        # Under autocast weights are float32: so would be the mixture, and all that its cross-modal layer adds to it.
        # (On CUDA, norms give float32 anyhow.)
        hidden = mixed.hidden.to(experts.standardised.dtype)
        previous = None if own is None or self.previous_weight is None else self.previous_weight.to(own.dtype) * own
        if previous is not None:
            hidden = hidden + previous
        if mixed.weights is None or mixed.norms is None:
            return Aggregated(hidden)
        terms = () if previous is None else (previous,)
        rows = None if self.previous_weight is None else self.previous_weight.view(1, 1, 1, -1)
        return Aggregated(hidden, rows_of(mixed.weights, rows, self.place.width), shares(mixed.norms, terms))


class LearnedMixture(Mixture):
    """A mixture weighed by the softmax of scores over a learned temperature; subclasses give the scores."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        weight: Literal["scalar", "vector"] = option(
            "vector", "one weight per expert, or one per expert and dimension (adaptive: of the previous state alone)"
        )
        temperature: float = option(1.0, "initial softmax temperature, learned from there", above=0.0, sizing=False)
        noise: float = option(
            0.0,
            "standard deviation of the training noise on the scores, in units of 1/N (published: 1)",
            minimum=0.0,
            sizing=False,
        )
        start: Literal["uniform", "top"] = option(
            "uniform",
            "weights at the start: all experts alike (published), or the highest ahead by 3 in its score: small models "
            "trained from scratch find an answer in one level sooner than in the mean of several",
        )

    layer_weights: ClassVar[frozenset[str]] = frozenset({"score", "previous_weight"})

    ahead: Tensor | None  #: what the scores are offset by, [1, N, 1, 1]

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Kind of weights, where they start, temperature and noise."""
        return {
            "weight": {"choice": ["scalar", "vector"]},
            "start": {"choice": ["uniform", "top"]},
            "temperature": {"float": [0.1, 2.0], "log": True},
            "noise": {"float": [0.0, 1.0]},
        }

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.cells = place.width if config.weight == "vector" else 1
        self.noise_scale = config.noise / place.experts
        self.temperature = nn.Parameter(torch.tensor(float(config.temperature)))
        self.previous_weight = free_weight(config.weight, place)
        # An offset to what is learned, not its initial value: a controller's bias starts at 0 like all biases.
        ahead = AHEAD * one_hot(place.experts, place.experts, like=self.scale) if config.start == "top" else None
        self.register_buffer("ahead", ahead, persistent=False)

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
        if self.ahead is not None:
            scores = scores + self.ahead
        if noise is not None:
            scores = scores + noise
        return (scores / self.temperature).softmax(1)
