"""What managers share that take one expert and leave the others: which one, its weight of one, and what they record.

Shapes: B examples, N experts, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtlab.errors import UserError
from mtlab.managers.base import Aggregated, Experts, Intervention, Manager, Place
from mtlab.managers.mixtures.terms import rows_of


def chosen(expert: Any, experts: int, key: str) -> int:
    """Turn an option that names an offered expert into its number, 1-based from the bottom.

    Args:
        expert: 1 for the lowest offered level, -1 for the highest.
        experts: N, how many are offered.
        key: the option, for the message.

    Raises:
        UserError: no whole number, or no such expert.

    """
    if isinstance(expert, bool) or not isinstance(expert, int):
        raise UserError(f"expected the number of an offered expert, found {expert!r}", key=key)
    if expert == 0 or abs(expert) > experts:
        raise UserError(f"no expert {expert}: {experts} offered, 1 to {experts} (or -{experts} to -1)", key=key)
    return expert if expert > 0 else experts + 1 + expert


def one_hot(expert: int, experts: int, like: Tensor) -> Tensor:
    """Give all the weight to one expert (1-based), [1, N, 1, 1], on the device and in the type of `like`."""
    weights = torch.zeros(experts, dtype=like.dtype, device=like.device)
    weights[expert - 1] = 1.0
    return weights.view(1, -1, 1, 1)


def take(experts: Experts, expert: int, intervene: Intervention | None, neutral: float) -> tuple[Tensor, Tensor]:
    """Take one expert (1-based), or what an intervention makes of that choice.

    Args:
        experts: all that are offered.
        expert: which one.
        intervene: maps its weight of one to those used instead.
        neutral: what stands in all dimensions for the weight that an intervention takes from all experts.

    Returns:
        States [B, L, D], and the weights [B|1, N, L|1, D|1].

    """
    states = experts.states
    weights = one_hot(expert, states.shape[1], states)
    if intervene is None:
        return experts.levels[expert - 1], weights
    weights = intervene(weights)
    return (weights * states).sum(1) + neutral * (1 - weights.sum(1)), weights


class OneExpert(Manager):
    """Takes one expert, or none above the first cross-modal layer, and joins it with the previous state.

    A subclass says which by `taken`, and how by `joined`. Recorded are the weight of that expert, and one of the
    previous state, each times its factor of `factors`.
    """

    neutral: ClassVar[float] = 0.0  #: joined in place of an expert that is removed

    @classmethod
    def taken(cls, config: Any, place: Place) -> int | None:
        """Say which offered expert is taken here, 1-based; None: none.

        Raises:
            UserError: the options name no offered expert.

        """
        raise NotImplementedError

    @classmethod
    def check(cls, config: Any, place: Place) -> None:
        """Refuse an expert that is not offered."""
        cls.taken(config, place)

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> Sequence[int]:
        """The one that is taken."""
        expert = cls.taken(config, place)
        return () if expert is None else (expert,)

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.expert = self.taken(config, place)

    def joined(self, expert: Tensor | None, previous: Tensor | None, mask: Tensor | None) -> Tensor:
        """Join the expert with the previous state, each [B, L, D] or None where there is none.

        Args:
            expert: the expert that is taken.
            previous: this modality's output of the cross-modal layer below.
            mask: True at real tokens of both, [B, L].

        """
        raise NotImplementedError

    def factors(self) -> tuple[Tensor | float, Tensor | float]:
        """Give what expert and previous state are multiplied by before they are added."""
        return 1.0, 1.0

    def contributed(self, weights: Tensor, hidden: Tensor) -> Tensor | None:  # noqa: ARG002
        """Give the contributions, [B, N + P, L], from recorded weights and output; by default it is no sum of terms."""
        return None

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
        """Aggregate, see `Manager.forward`."""
        previous = history[-1] if self.place.depth else None
        if self.expert is None:
            expert, weights = None, experts.states.new_zeros(1, self.place.experts, 1, 1)
        else:
            expert, weights = take(experts, self.expert, intervene, self.neutral)
        hidden = self.joined(expert, previous, experts.mask)
        if not record:
            return Aggregated(hidden)
        weights = self._recorded(weights, below=previous is not None)
        return Aggregated(hidden, weights, None if intervene is not None else self.contributed(weights, hidden))

    @torch.no_grad()
    def _recorded(self, weights: Tensor, *, below: bool) -> Tensor:
        if not below:
            return weights.detach()
        of_expert, of_previous = self.factors()
        return rows_of(of_expert * weights, of_previous * weights.new_ones(1, 1, 1, 1), self.place.width)
