"""A bridge that interpolates between uni-modal layer and previous state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.bridges.base import BaseBridge


@register_manager("bridge_interpolate")
class BridgeInterpolate(BaseBridge):
    """A bridge that learns a trade between uni-modal layer and previous state: LN((1−β)·u + β·c), LN(u) at the first.

    One number β per cross-modal layer and modality, not held between 0 and 1; both coefficients are recorded as
    weights. If its expert is removed (an intervention), it norms the previous state alone, LN(β·c). Source:
    `interpolate` of the BridgeTower models in Hugging Face's transformers.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BaseBridge.Config):
        beta: float = option(0.5, "initial share β of the previous state, learned from there")

    weights_sum_to_one = False  # the expert's is 1 − β
    exchanges_weights = False  # an intervention changes the choice of the expert, and not its coefficient
    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"beta"})

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Where the trade starts."""
        return {"beta": {"float": [0.1, 0.9]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.beta = nn.Parameter(torch.tensor(float(config.beta))) if place.depth else None

    def terms(self, expert: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Add (1−β)·u and β·c, [B, L, D] each."""
        assert self.beta is not None
        return (1 - self.beta) * expert, self.beta * inputs.history[-1]

    def coefficients(self) -> tuple[Tensor | float, Tensor | float]:
        """The expert's 1 − β, and β."""
        return (1.0, 1.0) if self.beta is None else (1 - self.beta, self.beta)
