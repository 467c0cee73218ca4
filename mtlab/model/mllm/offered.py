"""Which of a vision tower's levels the managers in a language model are offered.

Shapes: B images, N experts of a manager, O levels that the tower offers, P previous states, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtlab.config.schema import MultimodalConfig
from mtlab.errors import UserError
from mtlab.managers.base import Aggregated, Intervention
from mtlab.towers.base import TowerShape


@dataclass(frozen=True)
class OfferedRows:
    """Which of the tower's offered levels the experts of a manager are: recordings have a row for each of those."""

    rows: tuple[int, ...]  #: of each expert, from 0, [N]
    offered: int  #: O

    def spread(self, values: Tensor) -> Tensor:
        """Give weights or contributions [B, N + P, …] a row for each offered level, 0 where it is no expert."""
        if self.rows == tuple(range(self.offered)):
            return values
        experts, previous = values[:, : len(self.rows)], values[:, len(self.rows) :]
        spread = values.new_zeros(len(values), self.offered, *values.shape[2:])
        spread[:, list(self.rows)] = experts
        return torch.cat([spread, previous], 1)

    def intervene(self, change: Intervention) -> Intervention:
        """Let an intervention in weights of all offered levels change those of a manager."""
        return lambda weights: change(self.spread(weights))[:, list(self.rows)]

    def recorded(self, result: Aggregated) -> Aggregated:
        """Give what a manager recorded a row for each offered level."""
        weights, shares = result.weights, result.contributions
        return replace(
            result,
            weights=None if weights is None else self.spread(weights),
            contributions=None if shares is None else self.spread(shares),
        )


def offered_rows(model: MultimodalConfig, vision: TowerShape, *, first: bool) -> OfferedRows:
    """Return which levels a manager is offered.

    In front of layer 0 (`first`) the model's own image tokens, the tower's top level, are in the place of the highest.

    Raises:
        UserError: the tower does not offer a level, or one is named twice.

    """
    offered, key = vision.levels, "model.inject.levels"
    levels = offered if model.inject.levels is None else tuple(sorted(model.inject.levels))
    if not levels or not set(levels) <= set(offered):
        raise UserError(f"expected levels of vision.layers ({_listed(offered)}), found {_listed(levels)}", key=key)
    if len(set(levels)) < len(levels):
        raise UserError(f"names a level twice: {_listed(levels)}", key=key)
    rows = [offered.index(level) for level in levels]
    return OfferedRows((*rows[:-1], len(offered) - 1) if first else tuple(rows), len(offered))


def _listed(levels: Sequence[int]) -> str:
    return ", ".join(map(str, levels)) or "none"
