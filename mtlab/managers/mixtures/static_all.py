"""Static aggregation of the uni-modal experts and of all previous cross-modal states."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import (
    Aggregated,
    Inputs,
    Intervention,
    Manager,
    Place,
    register_manager,
    share_norms,
    stack_weights,
)
from mtlab.managers.mixtures.base import term_norms, weigh, weighted_sum


@register_manager("static_all")
class StaticAll(Manager):
    """Static aggregation of all experts (SAE): the uni-modal layers and every cross-modal layer below.

    out = Σ_n α_n ⊙ LN_n(U_n) + Σ_i ω_i ⊙ LN_(N+i)(C_i), i over the P cross-modal layers below, α = softmax_n(s / θ).
    The authors' code for it is not public, so how ω is normalised is an option: `raw` leaves it free, as `static` does;
    `own_softmax` is softmax_i(v / θ_cross); `joint_softmax` is one softmax over all N + P scores, over θ. Scores start
    at 1/N for experts and 1/P for previous states, as the published code prepares for them. With one layer below, `raw`
    is `static`, and there `own_softmax` has nothing to learn. An intervention keeps what the experts weigh in all.
    Source: SAE of ManagerTower (ACL 2023).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        previous: Literal["raw", "own_softmax", "joint_softmax"] = option(
            "raw", "weights of the previous states: free, a softmax of their own, or one softmax with the experts"
        )
        weight: Literal["scalar", "vector"] = option("vector", "one weight per state, or one per state and dimension")
        temperature: float = option(1.0, "initial softmax temperature θ, learned from there", above=0.0, sizing=False)
        temperature_cross: float = option(
            1.0,
            "own_softmax: initial temperature θ_cross over the previous states, learned from there",
            above=0.0,
            sizing=False,
        )
        noise: float = option(
            0.0,
            "standard deviation of the training noise on the experts' scores, in units of 1/N",
            minimum=0.0,
            sizing=False,
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"score", "previous_score"})

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """The open choices, and the temperature."""
        return {
            "previous": {"choice": ["raw", "own_softmax", "joint_softmax"]},
            "weight": {"choice": ["scalar", "vector"]},
            "temperature": {"float": [0.1, 2.0], "log": True},
            "noise": {"float": [0.0, 1.0]},
        }

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        experts, below, width = place.experts, place.depth, place.width
        score_width = width if config.weight == "vector" else 1
        learned = below > (1 if config.previous == "own_softmax" else 0)  # one state alone has a softmax of 1
        self.noise_scale = config.noise / experts
        self.joint = config.previous == "joint_softmax" and below > 0
        self.weights_sum_to_one = not self.joint
        self.temperature = nn.Parameter(torch.tensor(float(config.temperature)))
        self.scale = nn.Parameter(torch.ones(experts, 1, width))
        self.shift = nn.Parameter(torch.zeros(experts, 1, width))
        self.score = nn.Parameter(torch.full((1, experts, 1, score_width), 1 / experts))
        self.previous_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(below))
        self.previous_score = nn.Parameter(torch.full((1, below, 1, score_width), 1 / below)) if learned else None
        own = learned and config.previous == "own_softmax"
        self.temperature_cross = nn.Parameter(torch.tensor(float(config.temperature_cross))) if own else None

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        weights, previous = self._weights(inputs.noise)
        if intervene is not None:
            whole = weights.sum(1, keepdim=True)  # 1, but for the joint softmax
            weights = intervene(weights / whole) * whole
        standardised = inputs.experts.standardised
        hidden = weighted_sum(standardised, weights, self.scale, self.shift)
        below = [norm(state) for norm, state in zip(self.previous_norms, inputs.history, strict=True)]
        terms = weigh(below, previous) if previous is not None else []
        hidden = functools.reduce(torch.add, terms, hidden.to(standardised.dtype))  # as `Mixture`
        if not record:
            return Aggregated(hidden)
        norms = term_norms(standardised, weights, self.scale, self.shift)
        return Aggregated(hidden, stack_weights(weights, previous), share_norms(norms, terms))

    def _weights(self, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Give α, [B|1, N, L|1, 1|D], and ω, [B|1, P, L|1, 1|D] or None at the first cross-modal layer."""
        scores = self.score if noise is None else self.score + noise
        if self.joint and self.previous_score is not None:
            below = self.previous_score.expand(scores.shape[0], -1, *scores.shape[2:])
            both = (torch.cat([scores, below], 1) / self.temperature).softmax(1)
            return both[:, : self.place.experts], both[:, self.place.experts :]
        weights = (scores / self.temperature).softmax(1)
        return weights, self._previous(weights)

    def _previous(self, like: Tensor) -> Tensor | None:
        if not self.place.depth:
            return None
        if self.previous_score is None:
            return like.new_ones(1, 1, 1, 1)
        if self.temperature_cross is None:
            return self.previous_score
        return (self.previous_score / self.temperature_cross).softmax(1)
