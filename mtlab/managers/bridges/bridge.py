"""One uni-modal layer per cross-modal layer: BridgeTower."""

from __future__ import annotations

from torch import Tensor

from mtlab.managers.base import Inputs, register_manager
from mtlab.managers.bridges.base import BaseBridge


@register_manager("bridge")
class Bridge(BaseBridge):
    """Each cross-modal layer gets one uni-modal layer by a bridge: LN(u + c), and LN(u) at the first.

    Cross-modal layer ℓ of K takes offered expert max(1, N − K + ℓ), unless `experts` says otherwise. If its
    expert is removed (an intervention), it norms the previous state alone, LN(c). Source: BridgeTower (AAAI 2023).
    """

    def terms(self, expert: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Add u and c, [B, L, D] each."""
        return expert, inputs.history[-1]
