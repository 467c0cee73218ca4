"""How tensors of a checkpoint become ours, and back, without changing a bit.

Shapes: D width, N experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Step = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Transform:
    """Their tensors → ours, and the inverse."""

    forward: Step
    backward: Step


def joined(count: int) -> Transform:
    """Set `count` tensors of one shape end to end, as keys and values here are one map."""
    return Transform(lambda parts: [_joined(parts)], lambda whole: whole[0].chunk(count))


def apart(sizes: Sequence[int]) -> Transform:
    """Take the rows of a table apart."""
    return Transform(lambda whole: torch.split(whole[0], list(sizes)), lambda parts: [torch.cat(list(parts))])


def unscored(experts: int) -> Transform:
    """Part static scores [1, N + 1, 1, 1|D] into the experts' [1, N, 1, 1|D] and the previous state's ω [1|D]."""
    return Transform(
        lambda whole: [whole[0][:, :experts], _only(whole[0][:, experts:]).flatten()],
        lambda parts: [torch.cat([parts[0], parts[1].reshape(1, 1, 1, -1)], 1)],
    )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    if len({part.shape for part in parts}) > 1:
        raise ValueError("shapes differ")
    return torch.cat(list(parts))


def _only(rows: Tensor) -> Tensor:
    if rows.shape[1] != 1:
        raise ValueError("expected one row")
    return rows


SAME = Transform(lambda given: given, lambda given: given)
STACKED = Transform(  # N LayerNorms of [D] → [N, 1, D]
    lambda parts: [torch.stack(list(parts)).unsqueeze(1)], lambda whole: whole[0].squeeze(1).unbind()
)
SCALAR = Transform(lambda given: [given[0].reshape(())], lambda given: [given[0].reshape(1)])
FLAT = Transform(lambda given: [given[0].flatten()], lambda given: [given[0].reshape(1, 1, 1, -1)])
LEADING = Transform(lambda given: [given[0].unsqueeze(0)], lambda given: [given[0].squeeze(0)])
LEADING_TWO = Transform(lambda given: [given[0].reshape(1, 1, -1)], lambda given: [given[0].flatten()])
