"""What connectors share: levels are joined once, in front of the first cross-modal layer.

Shapes: B examples, N experts, L own tokens, M tokens of the other modality, D width, G groups of experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.errors import UserError
from mtlab.managers.base import Aggregated, Experts, Inputs, Intervention, Manager, Place
from mtlab.managers.bridges.base import expert_number


class Connector(Manager):
    """Joins levels in front of the first cross-modal layer by `connect`; above it the previous state passes alone.

    A subclass makes its parameters where `place.depth` is 0, and names what it reads there by `connected_experts`.
    """

    weights_sum_to_one = False  # above the first layer no expert has weight

    @classmethod
    def connected_experts(cls, config: Any, place: Place) -> Sequence[int]:  # noqa: ARG003 - subclasses read it
        """Which offered experts are joined, 1-based; all by default."""
        return range(1, place.experts + 1)

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> Sequence[int]:
        """Those that are joined at the first cross-modal layer, none above."""
        return () if place.depth else sorted(set(cls.connected_experts(config, place)))

    def connect(self, inputs: Inputs, *, intervene: Intervention | None, record: bool) -> Aggregated:
        """Join the levels; arguments as of `forward`."""
        raise NotImplementedError

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate, see `Manager.forward`."""
        if not inputs.history:
            return self.connect(inputs, intervene=intervene, record=record)
        hidden = inputs.history[-1]
        if not record:
            return Aggregated(hidden)
        weights = hidden.new_tensor([0.0] * self.place.experts + [1.0]).view(1, -1, 1, 1)
        return Aggregated(hidden, weights, weights[..., 0].expand(len(hidden), -1, hidden.shape[1]))


class Projector(nn.Module):
    """Two linear maps with a GELU (by erf) between them, as LLaVA projects levels.

    Args:
        inputs: D'.
        width: D.

    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """Map each token, [B, L, D'] → [B, L, D]."""
        mapped: Tensor = self.second(F.gelu(self.first(states)))
        return mapped


def weigh_levels(experts: Experts, weights: Tensor) -> Tensor:
    """Compute Σ_n w_n ⊙ u_n with weights [B|1, N, L|1, D|1]: [B, L, D]."""
    return (weights.to(experts.states.dtype) * experts.states).sum(1)


def expert_groups(groups: Any, experts: int) -> list[list[int]]:
    """Turn an option that groups experts into their numbers, 1-based.

    Args:
        groups: a list of lists of offered experts (1 lowest, -1 highest), or in how many runs of neighbours,
            as equal as they can be, all N are cut: at most N, the upper ones longer.
        experts: N.

    Raises:
        UserError: neither, or an expert is not offered.

    """
    if isinstance(groups, int) and not isinstance(groups, bool) and groups > 0:
        count = min(groups, experts)
        ends = [experts * number // count for number in range(count + 1)]
        return [list(range(low + 1, high + 1)) for low, high in pairwise(ends)]
    if not isinstance(groups, list | tuple) or not groups or not all(isinstance(g, list | tuple) and g for g in groups):
        raise UserError(f"expected a number of groups, or lists of offered experts, found {groups!r}", key="groups")
    return [[expert_number(expert, experts, "groups") for expert in group] for group in groups]


def group_weights(groups: Sequence[Sequence[int]], experts: int) -> Tensor:
    """Return the matrix that averages the experts of each group, [G, N]."""
    weights = torch.zeros(len(groups), experts)
    for row, group in zip(weights, groups, strict=True):
        for expert in group:
            row[expert - 1] += 1 / len(group)
    return weights
