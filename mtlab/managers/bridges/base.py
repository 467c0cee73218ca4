"""What bridges share: one uni-modal layer per cross-modal layer, joined with the previous state under a LayerNorm.

Shapes: B examples, N experts, L own tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.managers.base import (
    MODALITIES,
    Aggregated,
    Experts,
    Inputs,
    Intervention,
    Manager,
    Place,
    share_norms,
    stack_weights,
)


class BaseBridge(Manager):
    """LN(join(u, c)), u the expert paired with this cross-modal layer and c the previous state; LN(u) at the first.

    Cross-modal layer ℓ of K takes offered expert max(1, N − K + ℓ), unless `experts` says otherwise. A subclass gives
    `terms` if that is a sum, else `join`, and makes its own parameters where `place.depth` is not 0: at the first layer
    nothing is joined. Contributions are the parts of the terms in the norm of their sum, see `split_norm`. Source:
    BridgeTower (AAAI 2023).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        experts: Any = option(
            None,
            "the offered expert of each cross-modal layer, K numbers (1 lowest, -1 highest), or {text: …, image: …}; "
            "null: the top K in order",
        )

    @classmethod
    def check(cls, config: Any, place: Place) -> None:
        """Refuse a pairing that is not K offered experts."""
        paired_expert(config.experts, place)

    @classmethod
    def experts_used(cls, config: Config, place: Place) -> Sequence[int]:
        """The expert paired with this cross-modal layer."""
        return (paired_expert(config.experts, place),)

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.expert = paired_expert(config.experts, place)
        self.norm = nn.LayerNorm(place.width)

    def terms(self, expert: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002
        """Give what is added up before the norm, where there is a previous state.

        Args:
            expert: the paired one, [B, L, D].
            inputs: as of `forward`; the previous state is `inputs.history[-1]`, [B, L, D].

        Returns:
            The terms of the expert and of the previous state, [B, L, D] each; None if it is no sum.

        """
        return None

    def join(self, expert: Tensor, inputs: Inputs) -> Tensor:
        """Join the expert with the previous state before the norm, [B, L, D]; arguments as of `terms`."""
        terms = self.terms(expert, inputs)
        if terms is None:
            raise NotImplementedError
        return terms[0] + terms[1]

    def coefficients(self) -> tuple[Tensor | float, Tensor | float]:
        """Return what expert and previous state are multiplied by before they are added: recorded as weights.

        Two numbers, as floats or as scalar tensors; 1 for the expert at the first cross-modal layer.
        """
        return 1.0, 1.0

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        expert, weights = take_expert(inputs.experts, self.expert, intervene, self.neutral)
        hidden = self.norm(self.join(expert, inputs) if inputs.history else expert)
        if not record:
            return Aggregated(hidden)
        of_expert, of_previous = self.coefficients()
        previous = of_previous * weights.new_ones(1, 1, 1, 1) if inputs.history else None
        contributions = None if intervene is not None else self._contributions(expert, inputs)
        return Aggregated(hidden, stack_weights(of_expert * weights, previous), contributions)

    @torch.no_grad()
    def _contributions(self, expert: Tensor, inputs: Inputs) -> Tensor | None:
        """Share the output among the expert and the previous state, [B, N + P, L]; None where it is no sum."""
        terms = self.terms(expert, inputs) if inputs.history else (expert,)
        if terms is None:
            return None
        own, *previous = split_norm(terms, self.norm)
        norms = own.new_zeros(own.shape[0], self.place.experts, own.shape[1])
        norms[:, self.expert - 1] = torch.linalg.vector_norm(own, dim=-1)
        return share_norms(norms, previous)


def take_expert(
    experts: Experts, expert: int, intervene: Intervention | None, neutral: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Take one expert (1-based), or what an intervention turns that choice into.

    Args:
        experts: all that are offered.
        expert: which one.
        intervene: maps its weight of one to those used instead.
        neutral: fills all dimensions for the weight that an intervention takes from all experts.

    Returns:
        States [B, L, D], and the weights [B|1, N, L|1, D|1].

    """
    states = experts.states
    weights = states.new_zeros(1, states.shape[1], 1, 1)
    weights[:, expert - 1] = 1.0
    if intervene is None:
        return experts.levels[expert - 1], weights
    weights = intervene(weights)
    return (weights * states).sum(1) + neutral * (1 - weights.sum(1)), weights


def expert_number(expert: Any, experts: int, key: str) -> int:
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


def paired_expert(experts: Any, place: Place) -> int:
    """Return the offered expert that the bridge at this place takes, 1-based.

    Raises:
        UserError: `experts` is no list of K offered experts; its key is `experts`.

    """
    key = "experts"
    if isinstance(experts, Mapping):
        if set(experts) != set(MODALITIES):
            raise UserError(f"expected text and image, found {', '.join(map(str, experts)) or 'nothing'}", key=key)
        experts, key = experts[place.modality], f"experts.{place.modality}"
    if experts is None:
        return place.paired_expert
    if not isinstance(experts, list | tuple):
        raise UserError(f"expected a list of offered experts, found {experts!r}", key=key)
    if len(experts) != place.layers:
        raise UserError(f"names {len(experts)} experts for {place.layers} cross-modal layers", key=key)
    return expert_number(experts[min(place.depth, place.layers - 1)], place.experts, key)


@torch.no_grad()
def split_norm(terms: Sequence[Tensor], norm: nn.LayerNorm) -> list[Tensor]:
    """Take a LayerNorm of a sum apart: LN(Σ t_i) = Σ_i γ ⊙ (t_i − mean(t_i)) / σ + β, σ the deviation of the whole sum.

    Once σ is fixed, the norm is linear up to its shift β. The shift is the same whatever the terms are, and no part of
    any of them.

    Args:
        terms: t, of one shape [B, L, D].
        norm: around their sum.

    Returns:
        The parts without β, as many, [B, L, D], detached.

    """
    total = torch.stack(list(terms)).sum(0)
    deviation = (total.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    return [norm.weight * (term - term.mean(-1, keepdim=True)) / deviation for term in terms]
