"""One uni-modal layer per cross-modal layer: BridgeTower."""

from __future__ import annotations

from torch import Tensor

from mtlab.managers.base import Inputs, register_manager
from mtlab.managers.bridges.base import BaseBridge


@register_manager("bridge")
class Bridge(BaseBridge):
    """Each cross-modal layer gets one uni-modal layer by a bridge: LN(u + c), and LN(u) at the first.

    Cross-modal layer ℓ of K takes offered expert max(1, N − K + ℓ), unless `experts` says otherwise. Its output is no
    sum of terms (the norm is outside), so that it records no contributions. Without its expert it norms the previous
    state alone, LN(c). Source: BridgeTower (AAAI 2023).
    """

    def join(self, expert: Tensor, inputs: Inputs) -> Tensor:
        """Add, [B, L, D]."""
        return expert + inputs.history[-1]
