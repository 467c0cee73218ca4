"""What the managers of ManagerTower share: a weighted sum of normalised experts beside the previous state.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width, H heads (or
groups of D / H neighbouring dimensions).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Inputs, Intervention, Manager, Place, share_norms, stack_weights

LEAD = 3.0  #: added to the score of the expert that a manager starts at: nine tenths of the weight, of three experts


class WeightedSum(NamedTuple):
    """The experts' part of a mixture."""

    hidden: Tensor  #: Σ_n of the experts' terms, [B, L, D]
    weights: Tensor | None = None  #: α, [B|1, N, L|1, 1|H|D], each of H for D / H neighbouring dimensions
    norms: Tensor | None = None  #: Euclidean norm over D of each expert's term, [B, N, L]; None unless recorded


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

    def weights(self, inputs: Inputs, own: Tensor | None, /) -> Tensor:
        """Weigh the experts: α, [B|1, N, L|1, D|1], summing to one over N.

        Args:
            inputs: as of `forward`.
            own: the normalised previous state, [B, L, D]; None at the first cross-modal layer.

        """
        raise NotImplementedError

    def sum_experts(
        self, inputs: Inputs, own: Tensor | None, *, intervene: Intervention | None, record: bool
    ) -> WeightedSum:
        """Weigh and add up the experts; overridden where the weights depend on what the experts hold."""
        weights = self.weights(inputs, own)
        if intervene is not None:
            weights = intervene(weights)
        parts = inputs.experts.standardised, weights, self.scale, self.shift
        return WeightedSum(weighted_sum(*parts), weights, term_norms(*parts) if record else None)

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        own = self.previous_norm(inputs.history[-1]) if self.previous_norm is not None else None
        experts = self.sum_experts(inputs, own, intervene=intervene, record=record)
        # Under autocast weights are float32: so would be the mixture, and all that its cross-modal layer adds to it.
        # (On CUDA, norms give float32 anyhow.)
        hidden = experts.hidden.to(inputs.experts.standardised.dtype)
        previous = None if own is None or self.previous_weight is None else self.previous_weight.to(own.dtype) * own
        if previous is not None:
            hidden = hidden + previous
        if experts.weights is None or experts.norms is None:
            return Aggregated(hidden)
        weights = expand_groups(experts.weights, self.place.width)
        below = None if self.previous_weight is None else self.previous_weight.view(1, 1, 1, -1)
        shares = share_norms(experts.norms, () if previous is None else (previous,))
        return Aggregated(hidden, stack_weights(weights, below), shares)


def free_weight(weight: Literal["scalar", "vector"], place: Place) -> nn.Parameter | None:
    """Make the previous state's weight ω, [1|D], 1 at the start; None at the first cross-modal layer."""
    return nn.Parameter(torch.ones(place.width if weight == "vector" else 1)) if place.depth else None


class LearnedMixture(Mixture):
    """A mixture weighed by the softmax of scores over a learned temperature; subclasses give the scores."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: Literal["scalar", "vector"] = option(
            "vector",
            "`vector`: one weight per expert and dimension; `scalar`: one per expert; the previous state alike",
        )
        temperature: float = option(1.0, "initial softmax temperature, learned from there", above=0.0, sizing=False)
        noise: float = option(
            0.0,
            "standard deviation of the training noise on the scores, in units of 1/N (published: 1)",
            minimum=0.0,
            sizing=False,
        )
        start: Literal["uniform", "top", "spread", "slices"] = option(
            "uniform",
            "weights at the start, before what `adaptive` and `sparse` add for a token. `uniform`: all alike "
            "(published). `top`: the highest level ahead by 3 in its score. "
            "`spread`: cross-modal layer k prefers the k-th of levels spread from the lowest to the highest. `slices`: "
            "each level leads in its own share of the dimensions, in which weights differ then, whatever `weight` is",
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"score", "previous_weight"})

    lead: Tensor | None  #: added to the scores, [1, N, 1, 1|D]; None: nothing

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Kind of weights, where they start, temperature and noise."""
        return {
            "weight": {"choice": ["scalar", "vector"]},
            "start": {"choice": ["uniform", "top", "spread", "slices"]},
            "temperature": {"float": [0.1, 2.0], "log": True},
            "noise": {"float": [0.0, 1.0]},
        }

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.score_width = place.width if config.weight == "vector" else 1
        self.noise_scale = config.noise / place.experts
        self.temperature = nn.Parameter(torch.tensor(float(config.temperature)))
        self.previous_weight = free_weight(config.weight, place)
        lead = None
        if config.start == "slices":
            lead = LEAD * _slices(place.experts, place.width)
        elif config.start != "uniform":  # not an initial value: a controller's bias starts at 0 like all biases
            lead = torch.zeros(1, place.experts, 1, 1)
            first = place.experts if config.start == "top" else place.spread_expert
            lead[0, first - 1] = LEAD
        self.register_buffer("lead", lead, persistent=False)

    def uniform_score(self) -> nn.Parameter:
        """Make scores that give every expert the same weight, as published: 1/N each, [1, N, 1, 1|D]."""
        return nn.Parameter(torch.full((1, self.place.experts, 1, self.score_width), 1 / self.place.experts))

    def scores(self, inputs: Inputs, own: Tensor | None, /) -> Tensor:
        """Score the experts, [B|1, N, L|1, D|1]; arguments as of `weights`."""
        raise NotImplementedError

    def weights(self, inputs: Inputs, own: Tensor | None, /) -> Tensor:
        """Weigh the experts by the softmax of their scores, see `Mixture.weights`."""
        return self.softmax(self.scores(inputs, own), inputs.noise)

    def softmax(self, scores: Tensor, noise: Tensor | None) -> Tensor:
        """Turn scores into weights by a softmax over N.

        Args:
            scores: [B|1, N, L|1, D|1].
            noise: added to them, of a shape that broadcasts with theirs; None: none.

        Returns:
            α, [B|1, N, L|1, D|1], summing to one over N.

        """
        if self.lead is not None:
            scores = scores + self.lead
        if noise is not None:
            scores = scores + noise
        return (scores / self.temperature).softmax(1)


def _slices(experts: int, width: int) -> Tensor:
    """Share the dimensions out among the experts, neighbours together: 1 where an expert's are, [1, N, 1, D]."""
    owner = torch.arange(width) * experts // width
    return F.one_hot(owner, experts).t().view(1, experts, 1, width).float()


# The weighted sum, its terms one by one, and what is recorded of them.


def weighted_sum(standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Compute Σ_n α_n ⊙ (r_n ⊙ γ_n + β_n), one expert after another, so that the N terms never stand side by side.

    Args:
        standardised: r, [B, N, L, D].
        weights: α, [B|1, N, L|1, D|1].
        scale: γ, [N, 1, D].
        shift: β, [N, 1, D].

    Returns:
        [B, L, D]. Elementwise work alone: it counts no FLOPs in the published arithmetic.

    """
    if weights.shape[0] == 1 and weights.shape[2] == 1:  # shared by all tokens: the norm folds into the weights
        hidden = (weights * shift).sum((0, 1))
        for expert, weighed in zip(standardised.unbind(1), (weights * scale)[0], strict=True):
            hidden = torch.addcmul(hidden, expert, weighed)
        return hidden
    inputs = standardised, weights.expand(*standardised.shape[:-1], -1), scale, shift
    if torch.compiler.is_compiling():  # the compiler decides itself what it keeps
        return _sum_per_token(*inputs)
    summed: Tensor = _SumPerToken.apply(*inputs)  # type: ignore[no-untyped-call]  # torch
    return summed


def weigh(states: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Compute the terms α_n ⊙ r_n of states normalised before.

    Args:
        states: r, N times [B, L, D].
        weights: α, [B|1, N, L|1, 1|H|D], each of H for D / H neighbouring dimensions.

    Returns:
        N times [B, L, D], of the states' type.

    """
    parts = [(state, part.to(state.dtype)) for state, part in zip(states, weights.unbind(1), strict=True)]
    return [(split_width(state, part.shape[-1]) * part.unsqueeze(-1)).flatten(-2) for state, part in parts]


def split_width(states: Tensor, groups: int) -> Tensor:
    """Split the last dimension into H groups of neighbours, [..., D] → [..., H, D / H]."""
    return states.view(*states.shape[:-1], groups, -1)


def expand_groups(weights: Tensor, width: int) -> Tensor:
    """Repeat weights of groups of dimensions for each dimension: [B|1, N, L|1, H] → [B|1, N, L|1, D]."""
    groups = weights.shape[-1]
    return weights if groups in (1, width) else weights.repeat_interleave(width // groups, -1)


@torch.no_grad()
def term_norms(standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Measure the terms of `weighted_sum`: Euclidean norms over D, [B, N, L], detached."""
    norms: Tensor = torch.linalg.vector_norm(weights * (standardised * scale + shift), dim=-1)
    return norms


# Attention for fewer products, where queries are few.


def absorb_key_map(queries: Tensor, key: Tensor, heads: int) -> Tensor:
    """Take queries through the key map in place of the keys: W_q c · W_k r = (W_kᵀ W_q c) · r, head by head.

    Many keys of few queries thus cost no matrix product each.

    Args:
        queries: W_q c, [B, L, D].
        key: W_k, [D, D].
        heads: H, divides D.

    Returns:
        [B, H, L, D], over √(D / H): its products with unmapped keys are the logits.

    """
    split = split_width(queries, heads) / math.sqrt(queries.shape[-1] / heads)
    return torch.einsum("blhk,hkd->bhld", split, key.view(heads, -1, key.shape[1]))


def skipped_level_flops(width: int, own: int, experts: int) -> int:
    """Count the FLOPs avoided where L queries take the map of N · L keys, or L sums that of N · L values."""
    return 2 * width * width * own * (experts - 1)


# How `weighted_sum` is computed.


def _sum_per_token(standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Compute `weighted_sum` where each token has its own weights, [B, N, L, D|1]."""
    terms = zip(standardised.unbind(1), weights.unbind(1), scale, shift, strict=True)
    expert, weight, scaled, shifted = next(terms)
    hidden = torch.addcmul(shifted, expert, scaled) * weight
    for expert, weight, scaled, shifted in terms:
        hidden = torch.addcmul(hidden, torch.addcmul(shifted, expert, scaled), weight)
    return hidden


class _SumPerToken(torch.autograd.Function):
    """`_sum_per_token`, which keeps no normalised expert for the backward pass: it makes each anew."""

    @staticmethod
    def forward(ctx: Any, standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(standardised, weights, scale, shift)
        return _sum_per_token(standardised, weights, scale, shift)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        standardised, weights, scale, shift = ctx.saved_tensors
        of_experts, of_weights = torch.empty_like(standardised), torch.empty_like(weights)
        of_scale, of_shift = torch.empty_like(scale), torch.empty_like(shift)
        for number, expert in enumerate(standardised.unbind(1)):
            weighed = gradient * weights[:, number]
            of_experts[:, number] = weighed * scale[number]
            of_shift[number, 0] = weighed.sum((0, 1))
            of_scale[number, 0] = (weighed * expert).sum((0, 1))
            of_weight = gradient * torch.addcmul(shift[number], expert, scale[number])
            of_weights[:, number] = of_weight if weights.shape[-1] > 1 else of_weight.sum(-1, keepdim=True)
        return of_experts, of_weights, of_scale, of_shift
