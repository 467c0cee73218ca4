"""A bridge by a small network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.bridges.base import BaseBridge


@register_manager("bridge_mlp")
class BridgeMlp(BaseBridge):
    """A bridge that learns any function of a token's two states: LN(W_2 gelu(W_1 [u ; c])), and LN(u) at the first.

    Nothing passes by the network, so that training starts from a mixed-up state. If its expert is removed (an
    intervention), it reads 0 for u: LN(W_2 gelu(W_1 [0 ; c])). Source: the bridges that BridgeTower (AAAI 2023)
    compares, by a multilayer perceptron; inner width ours.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BaseBridge.Config):
        ratio: int = option(1, "inner width of the network, in widths", minimum=1, maximum=1024)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """How wide the network is."""
        return {"ratio": {"choice": [1, 2, 4]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        inner = config.ratio * place.width
        self.widen = nn.Linear(2 * place.width, inner) if place.depth else None
        self.narrow = nn.Linear(inner, place.width) if place.depth else None

    def join(self, expert: Tensor, inputs: Inputs) -> Tensor:
        """Run the network, [B, L, D]."""
        assert self.widen is not None
        assert self.narrow is not None
        hidden: Tensor = self.narrow(F.gelu(self.widen(torch.cat([expert, inputs.history[-1]], -1))))
        return hidden
