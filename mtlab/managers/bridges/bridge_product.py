"""A bridge that multiplies."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mtlab.managers.base import Inputs, register_manager
from mtlab.managers.bridges.base import BaseBridge


@register_manager("bridge_product")
class BridgeProduct(BaseBridge):
    """A bridge in which uni-modal layer and previous state gate each other: LN(u ⊙ c), and LN(u) at the first.

    No parameters but the norm's. If its expert is removed (an intervention), 1, not 0, stands in its place, so
    that the previous state passes as in the other bridges: LN(c). Source: the bridges that BridgeTower (AAAI 2023)
    compares, by multiplication.
    """

    neutral: ClassVar[float] = 1.0

    def join(self, expert: Tensor, inputs: Inputs) -> Tensor:
        """Multiply, [B, L, D]."""
        return expert * inputs.history[-1]
