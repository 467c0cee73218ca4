"""One uni-modal layer below, the previous state above: METER."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mtlab.config.options import option
from mtlab.managers.base import Place, register_manager
from mtlab.managers.choice import OneExpert, chosen


@register_manager("last")
class Last(OneExpert):
    """The towers' top layer enters once, at the first cross-modal layer; above, the previous state passes alone.

    With `expert`, another offered level enters in its place: the control for managers that mix several. No norm, no
    parameters. Above the first layer there is nothing to intervene in. Source: METER (CVPR 2022).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        expert: int = option(-1, "the offered level that enters: 1 is the lowest offered, -1 the highest")

    weights_sum_to_one = False  # above the first layer no expert has weight

    @classmethod
    def taken(cls, config: Config, place: Place) -> int | None:
        """The one expert at the first cross-modal layer, none above."""
        expert = chosen(config.expert, place.experts, "expert")
        return None if place.depth else expert

    def joined(self, expert: Tensor | None, previous: Tensor | None, mask: Tensor | None) -> Tensor:  # noqa: ARG002
        """Pass on the one that there is, [B, L, D]."""
        hidden = expert if previous is None else previous
        assert hidden is not None
        return hidden

    def contributed(self, weights: Tensor, hidden: Tensor) -> Tensor:
        """All of the output is that one term."""
        return weights[..., 0].expand(hidden.shape[0], -1, hidden.shape[1])
