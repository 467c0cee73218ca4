"""ELMo's scalar mix of all levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Experts, Inputs, Intervention, Place, register_manager, share_norms
from mtlab.managers.connectors.base import Connector, weigh_levels

TINY = 1e-13  #: added to the variance


@register_manager("scalar_mix")
class ScalarMix(Connector):
    """ELMo's scalar mix: γ Σ_n softmax(s)_n u_n in front of the first cross-modal layer, one mix for all of them.

    One number for each level, the same for all tokens and dimensions, and one factor γ for all. It starts as the mean
    of the levels as they are, without norms. With `layer_norm` each level is standardised first, by mean and variance
    over all real tokens and dimensions of the whole batch: an example then depends on the others. Above the first
    cross-modal layer the previous state passes alone. Source: ELMo (arXiv 1802.05365), as in AllenNLP.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        layer_norm: bool = option(False, "standardise each level over the whole batch first, without scale and shift")

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"score", "factor"})

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """With norm or without."""
        return {"layer_norm": {"choice": [False, True]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.independent_examples = not config.layer_norm or place.depth > 0
        if place.depth == 0:
            self.score = nn.Parameter(torch.zeros(1, place.experts, 1, 1))
            self.factor = nn.Parameter(torch.ones(1))

    def connect(self, inputs: Inputs, *, intervene: Intervention | None, record: bool) -> Aggregated:
        """Mix the levels, see `Connector.connect`."""
        weights = self.score.softmax(1)
        if intervene is not None:
            weights = intervene(weights)
        experts = _standardise(inputs.experts) if self.config.layer_norm else inputs.experts
        hidden = self.factor.to(experts.states.dtype) * weigh_levels(experts, weights)
        if not record:
            return Aggregated(hidden)
        norms = torch.linalg.vector_norm((weights * experts.states).detach(), dim=-1)
        return Aggregated(hidden, weights.detach(), share_norms(norms))


def _standardise(experts: Experts) -> Experts:
    """Standardise each level by its mean and variance over all real tokens of the batch and all dimensions."""
    states, mask = experts.states, experts.mask
    real = states.new_ones(1, 1, 1, 1) if mask is None else mask[:, None, :, None].to(states)
    count = real.expand(len(states), 1, states.shape[2], 1).sum() * states.shape[-1]
    mean = (states * real).sum((0, 2, 3), keepdim=True) / count
    variance = ((states - mean) * real).square().sum((0, 2, 3), keepdim=True) / count
    return Experts((states - mean) / (variance + TINY).sqrt(), mask)
