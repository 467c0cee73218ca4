"""A bridge that multiplies."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mtlab.managers.base import register_manager
from mtlab.managers.bridges.pairing import Pairing


@register_manager("bridge_product")
class BridgeProduct(Pairing):
    """A bridge in which uni-modal layer and previous state gate each other: LN(u ⊙ c), and LN(u) at the first.

    No parameters but the norm's. Without its expert 1, not 0, stands in its place, so that the previous state passes
    as in the other bridges: LN(c). Source: the bridges that BridgeTower (AAAI 2023) compares, by multiplication.
    """

    neutral: ClassVar[float] = 1.0

    def join(self, expert: Tensor, previous: Tensor, mask: Tensor | None) -> Tensor:  # noqa: ARG002
        """Multiply, [B, L, D]."""
        return expert * previous
