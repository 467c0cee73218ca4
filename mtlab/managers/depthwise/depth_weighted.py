"""A learned average over depth, the same for all tokens: DenseFormer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.depthwise.base import DepthSum, Weighed


@register_manager("depth_weighted")
class DepthWeighted(DepthSum):
    """The depth-weighted average of DenseFormer: Σ_j α_j x_j over the tower's levels and all cross-modal layers below.

    The weights α are free numbers of either sign, the same for all tokens; they start at one for the newest state and
    at zero for all others, so that it starts as `last`. With `dilation` δ a layer reads the states at places j ≡ i
    (mod δ) alone, with i its own place, counted from the top expert at 0, downwards through the levels too. Behind
    the last layer there is one more average. Source: DenseFormer (arXiv 2402.02622), in which the embeddings stand
    for all levels (`experts: top`).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(DepthSum.Config):
        dilation: int = option(1, "a layer reads every such state, counted downwards from the newest", minimum=1)
        period: int = option(
            1, "only every such layer averages, counted from the first; the others hand on the newest state", minimum=1
        )
        start: float = option(
            0.0,
            "initial weight of all states but the newest (0: the identity; DenseFormer's connect-to-last: 1e-4)",
            sizing=False,
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"weight"})

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Which states are read, and where."""
        return {"experts": {"choice": ["all", "top"]}, "dilation": {"int": [1, 4]}, "period": {"int": [1, 3]}}

    @classmethod
    def mixes_output(cls, config: Config, place: Place) -> bool:
        """Unless the last layer's period does not end there."""
        return place.layers % config.period == 0

    @classmethod
    def read_states(cls, config: Config, place: Place) -> list[int]:
        """Return every `dilation`-th state below the newest, or the newest alone; see `DepthSum.read_states`."""
        newest = place.experts - 1 + place.depth
        lowest = 0 if config.experts == "all" else place.experts - 1
        if place.depth % config.period:
            return [newest]
        return list(range(newest, lowest - 1, -config.dilation))[::-1]

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.starts_as_identity = config.start == 0.0
        passes = place.depth % config.period or (not place.depth and config.experts == "top")
        weight = torch.tensor([config.start] * (len(self.read) - 1) + [1.0])
        if passes:
            self.register_buffer("weight", weight, persistent=False)
        else:
            self.weight = nn.Parameter(weight)

    weight: Tensor

    def weigh(self, _states: object, _inputs: Inputs, /) -> Weighed:
        """Return the learned weights, blind to the input, [1, R, 1, 1]."""
        return Weighed(self.weight.view(1, -1, 1, 1))
