"""Adaptive aggregation in which a token keeps few experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.mixtures.adaptive import Adaptive


@register_manager("sparse")
class Sparse(Adaptive):
    """Each token keeps its k best experts and leaves the others: how many layers does a token need?

    The weights are those of `adaptive`; the k largest of a token are kept and renormalised, the others are 0. A dense
    softmax of near-equal scores is close to the mean, so that its gain may come from averaging; here with k = 1 a token
    reads one layer, as in a bridge, but its own, and k = N is `adaptive`: k takes averaging and choosing apart. The
    gradient is the dense softmax's (straight-through), so that experts which were left out hear that they were wanted,
    and k = 1 learns at all. The first cross-modal layer, where no token can ask yet, stays dense. It saves no
    computation. Above that layer training noise is one draw per token and expert. Source: ours, after top-k gating of
    mixtures of experts (Shazeer et al., ICLR 2017) and the straight-through estimator (Bengio et al., 2013).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Adaptive.Config):
        k: int = option(2, "experts that a token keeps; more than are offered keep all", minimum=1)
        start: Literal["uniform", "top", "spread"] = option(
            "uniform", "as of `adaptive`; by `slices` each dimension would keep levels of its own"
        )

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """As `adaptive`, but for a start that differs by dimension, and how many are kept."""
        return {**super().search_space(), "start": {"choice": ["uniform", "top", "spread"]}, "k": {"int": [1, 4]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.k = min(config.k, place.experts)

    def weights(self, inputs: Inputs, own: Tensor | None, /) -> Tensor:
        """Weigh the experts, at most k of them per token above the first cross-modal layer; see `Mixture.weights`."""
        if own is None:
            return super().weights(inputs, own)
        noise = None if inputs.noise is None else inputs.noise[..., :1]
        return keep_largest(self.softmax(self.scores(inputs, own), noise), self.k)


def keep_largest(weights: Tensor, k: int) -> Tensor:
    """Keep the k largest over N and renormalise; the gradient is that of `weights`, [B, N, L, 1] → the same."""
    values, places = weights.topk(k, 1)
    kept = torch.zeros_like(weights).scatter(1, places, values / values.sum(1, keepdim=True))
    return kept.detach() + (weights - weights.detach())
