"""What the managers of LLaVA-OV-Manager share: levels are added to the previous state with weights that start at zero.

Shapes: B examples, N experts, L own tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    share_norms,
    stack_norms,
    stack_weights,
)


class Residual(Manager):
    """out = c + Σ_n s_n · z_n ⊙ u_n, with c the previous state, z learned from zero and scores s for each token, or 1.

    No norm, no softmax. At the first cross-modal layer c is the top expert, and the sum is over those below it; scores
    are 1 there. A subclass gives `scores` and the shape of the noise. Source: LLaVA-OV-Manager (arXiv 2506.11515).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: Literal["scalar", "vector"] = option(
            "vector", "what is learned from zero: one number per expert, or one per expert and dimension (published)"
        )
        noise: float = option(
            0.0,
            "training noise: weights are multiplied by factors in 1 ± noise (published: 0.01); in bfloat16 these are "
            "rounded, to 1 below a noise of about 0.002",
            minimum=0.0,
            below=1.0,
        )

    weights_sum_to_one = False
    raw_weights = True
    starts_as_identity = True
    noise_kind: ClassVar[Literal["normal", "uniform"]] = "uniform"
    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"gate"})

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """The kind of weights, and the noise."""
        return {"weight": {"choice": ["scalar", "vector"]}, "noise": {"float": [0.0, 0.1]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.added = place.experts if place.depth else place.experts - 1  #: the lowest experts, which are added
        width = place.width if config.weight == "vector" else 1
        self.gate = nn.Parameter(torch.zeros(1, self.added, 1, width)) if self.added else None
        self.noise_scale = config.noise if self.added else 0.0
        if not place.depth:
            self.skips = {place.experts: 1.0}

    @property
    def weighed(self) -> Sequence[int]:
        """Those that are added, see `Manager.weighed`."""
        return range(1, self.added + 1)

    def scores(self, inputs: Inputs, own: Tensor, /) -> Tensor | None:  # noqa: ARG002 - a subclass reads them
        """Score the added experts for each token of the previous state `own`, [B, N, L, 1|D]; None: all are 1."""
        return None

    def noise_shape(self, batch: int, length: int) -> tuple[int, ...]:  # noqa: ARG002 - a subclass reads them
        """Return the shape of the weights: one draw for all examples and tokens."""
        return (1, self.added, 1, self.place.width if self.config.weight == "vector" else 1)

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        levels, below = inputs.experts.levels, bool(inputs.history)
        own = inputs.history[-1] if below else levels[-1]
        if self.gate is None and intervene is None and not record:
            return Aggregated(own)
        gate, scores = self._factors(inputs, own)
        if intervene is None and not record:
            for level, factor, score in zip(levels, gate.unbind(1), scores.unbind(1), strict=False):
                own = torch.addcmul(own, level * factor, score)
            return Aggregated(own)
        weights = self._experts_weights(gate * scores, own, top=0.0 if below else 1.0)
        if intervene is not None:
            weights = intervene(weights)
        terms = [level * weight for level, weight in zip(levels, weights.unbind(1), strict=True)]
        hidden = torch.stack([*terms, own] if below else terms).sum(0)
        previous = (own,) if below else ()
        rows = stack_weights(weights, weights.new_ones(1, 1, 1, 1) if below else None)
        return Aggregated(hidden, rows, share_norms(stack_norms(terms), previous))

    def _factors(self, inputs: Inputs, own: Tensor) -> tuple[Tensor, Tensor]:
        """Give z, [1, n, 1, 1|D], and s, [B|1, n, L|1, 1|D], noise included, of the n experts that are added."""
        gate = own.new_zeros(1, 0, 1, 1) if self.gate is None else self.gate.to(own.dtype)
        scores = self.scores(inputs, own) if self.place.depth else None
        if scores is None:
            scores = gate.new_ones(1, self.added, 1, 1)
        return gate, scores if inputs.noise is None else scores * inputs.noise.to(own.dtype)

    def _experts_weights(self, weights: Tensor, own: Tensor, top: float) -> Tensor:
        """Append the weight of the top expert, which is not among the added ones at the first cross-modal layer."""
        if self.added == self.place.experts:
            return weights
        row = own.new_full((1, 1, 1, 1), top).expand(weights.shape[0], 1, *weights.shape[2:])
        return torch.cat([weights, row], 1)
