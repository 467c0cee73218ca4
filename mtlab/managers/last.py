"""One uni-modal layer below, the previous state above: METER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Experts, Intervention, Manager, Place, register_manager
from mtlab.managers.choice import chosen, one_hot, take


@register_manager("last")
class Last(Manager):
    """The towers' top layer enters once, at the first cross-modal layer; above, the previous state passes alone.

    With `expert`, another offered level enters in its place: the control for managers that mix several. No norm, no
    parameters. Source: METER (CVPR 2022).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        expert: int = option(-1, "the offered level that enters: 1 is the lowest offered, -1 the highest")

    weights_sum_to_one: ClassVar[bool] = False  #: above the first layer no expert has weight

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse an expert that is not offered."""
        chosen(config.expert, place.experts, "expert")

    @classmethod
    def experts_used(cls, config: Config, place: Place) -> Sequence[int]:
        """The one expert at the first cross-modal layer, none above."""
        return () if place.depth else (chosen(config.expert, place.experts, "expert"),)

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.expert = chosen(config.expert, place.experts, "expert")

    def forward(
        self,
        experts: Experts,
        history: Sequence[Tensor],
        other: Tensor | None,  # noqa: ARG002
        other_mask: Tensor | None = None,  # noqa: ARG002
        *,
        noise: Tensor | None = None,  # noqa: ARG002
        intervene: Intervention | None = None,
        record: bool = False,
    ) -> Aggregated:
        """Aggregate, see `Manager.forward`. Above the first layer there is nothing to intervene in."""
        if self.place.depth:
            rows = self.place.experts + 1
            hidden, weights = history[-1], one_hot(rows, rows, like=history[-1])  # the last row is the previous state's
        else:
            hidden, weights = take(experts, self.expert, intervene)
        if not record:
            return Aggregated(hidden)
        share = weights.detach()[..., 0].expand(hidden.shape[0], -1, hidden.shape[1])
        return Aggregated(hidden, weights.detach(), share if intervene is None else None)
