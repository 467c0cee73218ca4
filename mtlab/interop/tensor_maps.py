"""Invertible maps between tensors of a checkpoint and ours, exact to the bit.

Shapes: D width, N experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Step = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class TensorMap:
    """A map from tensors of a checkpoint to ours, and its inverse."""

    forward: Step
    backward: Step


def concatenate(count: int) -> TensorMap:
    """Concatenate `count` tensors of one shape, as our attention has one projection for keys and values."""
    return TensorMap(lambda parts: [_concatenate(parts)], lambda whole: whole[0].chunk(count))


def split_rows(sizes: Sequence[int]) -> TensorMap:
    """Split the rows of a table into parts of the given sizes."""
    return TensorMap(lambda whole: torch.split(whole[0], list(sizes)), lambda parts: [torch.cat(list(parts))])


def split_scores(experts: int) -> TensorMap:
    """Split static scores [1, N + 1, 1, 1|D] into the experts' [1, N, 1, 1|D] and the previous state's ω [1|D]."""
    return TensorMap(
        lambda whole: [whole[0][:, :experts], _one_row(whole[0][:, experts:]).flatten()],
        lambda parts: [torch.cat([parts[0], parts[1].reshape(1, 1, 1, -1)], 1)],
    )


def _concatenate(parts: Sequence[Tensor]) -> Tensor:
    if len({part.shape for part in parts}) > 1:
        raise ValueError("shapes differ")
    return torch.cat(list(parts))


def _one_row(rows: Tensor) -> Tensor:
    if rows.shape[1] != 1:
        raise ValueError("expected one row")
    return rows


IDENTITY = TensorMap(lambda tensors: tensors, lambda tensors: tensors)
STACK = TensorMap(  # N LayerNorms of [D] → [N, 1, D]
    lambda parts: [torch.stack(list(parts)).unsqueeze(1)], lambda whole: whole[0].squeeze(1).unbind()
)
SCALAR = TensorMap(lambda given: [given[0].reshape(())], lambda given: [given[0].reshape(1)])
FLATTEN = TensorMap(lambda given: [given[0].flatten()], lambda given: [given[0].reshape(1, 1, 1, -1)])
DROP_AXIS = TensorMap(lambda given: [given[0].unsqueeze(0)], lambda given: [given[0].squeeze(0)])
LEADING_TWO = TensorMap(lambda given: [given[0].reshape(1, 1, -1)], lambda given: [given[0].flatten()])
