"""A learned average over depth for each token: MUDDFormer, in one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import MAX_SIZE, option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.depthwise.base import DepthSum, Weighed

EPS = 1e-6  #: of the root mean square


@register_manager("mudd")
class Mudd(DepthSum):
    """Sums over depth weighed anew for each token, by its newest state: Σ_j A_j x_j, A = W₂ gelu(W₁ RMS(x_i)) + a.

    x are the tower's levels and the outputs of all cross-modal layers below. No softmax: the weights have either sign.
    W₂ starts at zero, a at one for the newest state and at zero for the others, so that it starts as `last`. Behind the
    last layer there is one more sum. Source: MUDDFormer (arXiv 2502.12170), its dynamic dense connections in one way;
    there a layer has four, for queries, keys, values and the residual, which a cross-modal layer cannot take apart.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(DepthSum.Config):
        hidden: int | None = option(
            None,
            "inner width of the network that makes the weights; null: as published, the number of states (four times "
            "that behind the last layer) up to the next multiple of 64",
            minimum=1,
            maximum=MAX_SIZE,
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"static"})
    starts_as_identity = True

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Which states are read."""
        return {"experts": {"choice": ["all", "top"]}}

    @classmethod
    def mixes_output(cls, config: Config, place: Place) -> bool:  # noqa: ARG003 - of any options
        """Always."""
        return True

    @classmethod
    def read_states(cls, config: Config, place: Place) -> list[int]:
        """Return all states, of the levels the top one at least; see `DepthSum.read_states`."""
        return list(range(0 if config.experts == "all" else place.experts - 1, place.experts + place.depth))

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        states = len(self.read)
        self.mixes = states > 1  #: a single state passes as it is
        if not self.mixes:
            return
        published = (states * (4 if place.depth == place.layers else 1) // 64 + 1) * 64
        hidden = config.hidden or published
        self.widen = nn.Linear(place.width, hidden, bias=False)
        self.dynamic = nn.Parameter(torch.zeros(states, hidden))
        self.static = nn.Parameter(torch.tensor([0.0] * (states - 1) + [1.0]))

    def weigh(self, states: Sequence[Tensor], _inputs: Inputs, /) -> Weighed:
        """Weigh the states by the newest, [B, R, L, 1]."""
        newest = states[-1]
        if not self.mixes:
            return Weighed(newest.new_ones(1, 1, 1, 1))
        asked = F.gelu(self.widen(F.rms_norm(newest, newest.shape[-1:], eps=EPS)))
        weights = F.linear(asked, self.dynamic, self.static)  # [B, L, R]
        return Weighed(weights.transpose(1, 2).unsqueeze(-1))
