"""A bridge by attention over the tokens of the uni-modal layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mtlab.attention import Attention
from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, check_heads, register_manager
from mtlab.managers.bridges.base import BaseBridge


@register_manager("bridge_cross_attention")
class BridgeCrossAttention(BaseBridge):
    """A bridge by which each token reads all tokens of the uni-modal layer: LN(c + MHA(c, u, u)), LN(u) at the first.

    Multi-head attention with an output projection, over real tokens. If its expert is removed (an intervention), all
    tokens of u are 0, and the attention adds its biases alone, the same to every token. What it adds is the expert's
    contribution. Source: the bridges that BridgeTower (AAAI 2023) compares, by cross-attention.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BaseBridge.Config):
        heads: int = option(4, "attention heads; must divide the width", minimum=1)

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse a pairing that is not K offered experts, and heads that do not divide the width."""
        super().check(config, place)
        check_heads(config.heads, place.width)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """The heads."""
        return {"heads": {"choice": [1, 2, 4, 8]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.attention = Attention(place.width, config.heads, dropout=0.0) if place.depth else None

    def terms(self, expert: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Add MHA(c, u, u) and c, [B, L, D] each."""
        assert self.attention is not None
        previous = inputs.history[-1]
        attended: Tensor = self.attention(previous, expert, inputs.experts.mask)
        return attended, previous
