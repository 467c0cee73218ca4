"""What managers over depth share: a sum of all states below, the tower's levels first, with raw weights.

The levels and the outputs of the cross-modal layers are one sequence: expert n stands at place n − N, so that the top
expert is x_0 and x_i the output of the i-th cross-modal layer. The newest is what a plain stack of layers would hand
on.

Shapes: B examples, N experts, P previous states, R states that are read, L own tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mtlab.config.options import option
from mtlab.managers.base import (
    Aggregated,
    Inputs,
    Intervention,
    Manager,
    Place,
    share_norms,
    stack_norms,
    stack_weights,
)


class Weighed(NamedTuple):
    """What a manager over depth makes of the states that it reads."""

    weights: Tensor  #: [B|1, R, L|1, D|1]
    constant: Tensor | None = None  #: added to their sum, [B, L, D]
    auxiliary: Tensor | None = None  #: see `Aggregated.auxiliary`


class DepthSum(Manager):
    """out = Σ_j w_j ⊙ x_j, x the tower's levels and all previous states. A subclass gives `read_states` and `weigh`."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        experts: Literal["all", "top"] = option(
            "all", "the levels that stand beside the previous states: all that are offered, or the top one (published)"
        )

    weights_sum_to_one = False
    raw_weights = True

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> Sequence[int]:
        """Those among the states that are read."""
        return [number + 1 for number in cls.read_states(config, place) if number < place.experts]

    @classmethod
    def read_states(cls, config: Any, place: Place) -> list[int]:
        """Return which states are read, ascending: 0 to N − 1 are the experts, N and more the previous states."""
        raise NotImplementedError

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.read = self.read_states(config, place)

    def weigh(self, states: Sequence[Tensor], inputs: Inputs, /) -> Weighed:
        """Weigh the states that are read, [B, L, D] each; the last is the newest."""
        raise NotImplementedError

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        states = [*inputs.experts.levels, *inputs.history]
        read = [states[number] for number in self.read]
        weights, constant, auxiliary = self.weigh(read, inputs)
        weights = weights.to(states[-1].dtype)  # under autocast they are float32, and so would be the sum
        if not record and intervene is None:
            return Aggregated(_add_up(read, weights, constant), auxiliary=auxiliary)
        count, numbers = self.place.experts, torch.tensor(self.read, device=weights.device)
        rows = weights.new_zeros(weights.shape[0], len(states), *weights.shape[2:]).index_copy(1, numbers, weights)
        experts, previous = rows[:, :count], rows[:, count:]
        if intervene is not None:
            whole = torch.ones_like(experts[:, :1]) if self.raw_weights else experts.sum(1, keepdim=True)
            shares = experts / whole.where(whole != 0, torch.ones_like(whole))  # a recency may leave levels no weight
            experts = intervene(shares) * whole
        parts = [*experts.unbind(1), *previous.unbind(1)]
        terms = [part * state for part, state in zip(parts, states, strict=True)]
        hidden = torch.stack(terms).sum(0) if constant is None else torch.stack([constant, *terms]).sum(0)
        contributions = share_norms(stack_norms(terms[:count]), terms[count:])
        return Aggregated(hidden, stack_weights(experts, previous), contributions, auxiliary=auxiliary)


def _add_up(states: Sequence[Tensor], weights: Tensor, constant: Tensor | None) -> Tensor:
    parts = weights.unbind(1)
    hidden = parts[0] * states[0] if constant is None else torch.addcmul(constant, parts[0], states[0])
    for part, state in zip(parts[1:], states[1:], strict=True):
        hidden = torch.addcmul(hidden, part, state)
    return hidden
