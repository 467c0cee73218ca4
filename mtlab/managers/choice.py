"""What managers share that take one expert and leave the others: which one, and its weight of one.

Shapes: B examples, N experts, L tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtlab.errors import UserError
from mtlab.managers.base import Experts, Intervention


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


def take(experts: Experts, expert: int, intervene: Intervention | None) -> tuple[Tensor, Tensor]:
    """Take one expert (1-based), or what an intervention makes of that choice: states [B, L, D], and the weights."""
    states = experts.states
    weights = one_hot(expert, states.shape[1], states)
    if intervene is None:
        return states[:, expert - 1], weights
    weights = intervene(weights)
    return (weights * states).sum(1), weights
