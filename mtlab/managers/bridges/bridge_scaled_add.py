"""A bridge that scales the uni-modal layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.bridges.base import BaseBridge


@register_manager("bridge_scaled_add")
class BridgeScaledAdd(BaseBridge):
    """A bridge that learns how loud its uni-modal layer is: LN(s·u + c), and LN(u) at the first.

    One number s per cross-modal layer and modality, recorded as the expert's weight. If its expert is removed (an
    intervention), it norms the previous state alone, LN(c). Source: `scaled_add` of the BridgeTower models in Hugging
    Face's transformers.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BaseBridge.Config):
        scale: float = option(1.0, "initial scale s of the uni-modal layer, learned from there")

    weights_sum_to_one = False  # s is free
    exchanges_weights = False  # an intervention changes the choice of the expert, and not its coefficient
    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"scale"})

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Where the scale starts."""
        return {"scale": {"float": [0.1, 2.0], "log": True}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.scale = nn.Parameter(torch.tensor(float(config.scale))) if place.depth else None

    def terms(self, expert: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Add s·u and c, [B, L, D] each."""
        assert self.scale is not None
        return self.scale * expert, inputs.history[-1]

    def coefficients(self) -> tuple[Tensor | float, Tensor | float]:
        """The expert's s, and 1."""
        return (1.0 if self.scale is None else self.scale), 1.0
