"""Which of a vision tower's levels the managers in a language model are offered.

Shapes: B images, N experts of a manager, O levels that the tower offers, P previous states, L tokens, D width.
"""

from __future__ import annotations

import math
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
    """Which of the tower's levels the experts of a manager are: recordings have a row for each level of the tower."""

    rows: tuple[int, ...]  #: of each expert, from 0, [N]
    levels: int  #: O

    def scatter(self, values: Tensor, fill: float) -> Tensor:
        """Give weights or contributions [B, N + P, …] a row for each level of the tower, `fill` if it is no expert."""
        if self.rows == tuple(range(self.levels)):
            return values
        experts, previous = values[:, : len(self.rows)], values[:, len(self.rows) :]
        scattered = values.new_full((len(values), self.levels, *values.shape[2:]), fill)
        scattered[:, list(self.rows)] = experts
        return torch.cat([scattered, previous], 1)

    def intervene(self, change: Intervention) -> Intervention:
        """Let an intervention in weights of all levels of the tower change those of a manager."""
        return lambda weights: change(self.scatter(weights, 0.0))[:, list(self.rows)]

    def recorded(self, result: Aggregated) -> Aggregated:
        """Give what a manager recorded a row for each level of the tower, NaN where the manager is not offered it."""
        weights, shares = result.weights, result.contributions
        return replace(
            result,
            weights=None if weights is None else self.scatter(weights, math.nan),
            contributions=None if shares is None else self.scatter(shares, math.nan),
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
