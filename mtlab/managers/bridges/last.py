"""One uni-modal layer below, the previous state above: METER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Inputs, Intervention, Manager, Place, register_manager
from mtlab.managers.bridges.base import expert_number, take_expert


@register_manager("last")
class Last(Manager):
    """The towers' top layer enters once, at the first cross-modal layer; above, the previous state passes alone.

    u_N at the first, c above. With `expert`, another offered level enters in its place: the control for managers that
    mix several. No norm, no parameters. Above the first layer there is nothing to intervene in. Source: METER (CVPR
    2022).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        expert: int = option(-1, "the offered level that enters: 1 is the lowest offered, -1 the highest")

    weights_sum_to_one = False  # above the first layer no expert has weight

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse an expert that is not offered."""
        cls.experts_used(config, place)

    @classmethod
    def experts_used(cls, config: Config, place: Place) -> Sequence[int]:
        """The one expert at the first cross-modal layer, none above."""
        expert = expert_number(config.expert, place.experts, "expert")
        return () if place.depth else (expert,)

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        states = inputs.experts.states
        if inputs.history:
            hidden = inputs.history[-1]
            if not record:
                return Aggregated(hidden)
            weights = states.new_tensor([0.0] * self.place.experts + [1.0]).view(1, -1, 1, 1)
        else:
            (expert,) = self.experts_used(self.config, self.place)
            hidden, weights = take_expert(inputs.experts, expert, intervene)
        if not record:
            return Aggregated(hidden)
        shares = None if intervene is not None else weights[..., 0].expand(len(states), -1, states.shape[2])
        return Aggregated(hidden, weights.detach(), shares)
