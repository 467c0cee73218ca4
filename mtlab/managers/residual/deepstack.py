"""One level added in front of each cross-modal layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.managers.base import (
    Aggregated,
    Inputs,
    Intervention,
    Manager,
    Place,
    register_manager,
    share_norms,
    stack_norms,
    stack_weights,
)
from mtlab.managers.bridges.base import expert_number


@register_manager("deepstack")
class DeepStack(Manager):
    """One level after another is added to the previous state: c + u, without norm, weight or parameters.

    At the first cross-modal layer c is the top expert. From the layer that has `start` layers below it on, every
    `interval`-th layer adds the next of `experts`, the lowest offered level first; levels that are left over at the
    last layer are never read. Source: DeepStack (arXiv 2406.04334), there with crops of a higher resolution in place
    of levels; with levels in Qwen3-VL (arXiv 2511.21631), which adds them behind the first layers of its language
    model: in front of the next ones.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        start: int = option(1, "cross-modal layers below the first that adds a level", minimum=0)
        interval: int = option(1, "a level is added in front of every such number of layers", minimum=1)
        experts: Any = option(
            None, "the offered experts that are added, in order (1 lowest, -1 highest); null: all, lowest first"
        )

    weights_sum_to_one = False
    raw_weights = True

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse experts that are not offered, and settings that add none anywhere."""
        added_expert(config, place)
        if config.start >= place.layers:
            raise UserError(
                f"adds no level to {place.layers} cross-modal layers: write at most {place.layers - 1}", key="start"
            )
        if config.experts is not None and not config.experts:
            raise UserError("names no expert: leave it out for all", key="experts")

    @classmethod
    def experts_used(cls, config: Config, place: Place) -> Sequence[int]:
        """The one that is added, and at the first cross-modal layer the top one."""
        added = added_expert(config, place)
        return sorted({*(() if place.depth else (place.experts,)), *(() if added is None else (added,))})

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Where levels are added."""
        return {"start": {"int": [0, 2]}, "interval": {"int": [1, 3]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.expert = added_expert(config, place)
        if not place.depth:
            self.skips = {place.experts: 1.0}

    @property
    def weighed(self) -> Sequence[int]:
        """The one that is added, see `Manager.weighed`."""
        return () if self.expert is None else (self.expert,)

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        levels, below = inputs.experts.levels, bool(inputs.history)
        if intervene is None and not record:
            own = inputs.history[-1] if below else levels[-1]
            return Aggregated(own if self.expert is None else own + levels[self.expert - 1])
        weights = levels[0].new_zeros(1, len(levels), 1, 1)
        if self.expert is not None:
            weights[:, self.expert - 1] += 1
        if not below:
            weights[:, -1] += 1
        if intervene is not None:
            weights = intervene(weights)
        terms: list[Tensor] = [weight * level for weight, level in zip(weights.unbind(1), levels, strict=True)]
        hidden = torch.stack([*terms, *inputs.history[-1:]]).sum(0)
        rows = stack_weights(weights, weights.new_ones(1, 1, 1, 1) if below else None)
        return Aggregated(hidden, rows, share_norms(stack_norms(terms), inputs.history[-1:]))


def added_expert(config: DeepStack.Config, place: Place) -> int | None:
    """Return the offered expert (1-based) that is added in front of this cross-modal layer; None if there is none.

    Raises:
        UserError: `experts` is no list of offered experts.

    """
    if config.experts is not None and not isinstance(config.experts, list | tuple):
        raise UserError(f"expected a list of offered experts, found {config.experts!r}", key="experts")
    order = range(1, place.experts + 1) if config.experts is None else config.experts
    numbers = [expert_number(each, place.experts, "experts") for each in order]
    turn, rest = divmod(place.depth - config.start, config.interval)
    return numbers[turn] if not rest and 0 <= turn < len(numbers) else None
