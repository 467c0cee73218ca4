"""The interface of a task: head, loss, metrics, and the outcome of each example.

Shapes: B examples, D width, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from mtlab.registry import NoOptions, Registry


@dataclass(frozen=True)
class Outcome:
    """What became of each example of a batch; the mean of `scores[m]` over examples is metric `m`."""

    predictions: Tensor  #: [B], index of the chosen answer
    scores: Mapping[str, Tensor]  #: metric → [B], float


class Task(nn.Module):
    """A task on the pooled features of the cross-modal encoder: a module that holds the head."""

    Config: ClassVar[type[Any]] = NoOptions
    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {}  #: what `outcome` scores, and which way is better

    def __init__(self, config: Any, width: int, answers: int) -> None:  # noqa: ARG002 - subclasses size the head by them
        super().__init__()
        self.config = config

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, 2D] → logits [B, A]."""
        raise NotImplementedError

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the batch, a scalar."""
        raise NotImplementedError

    def outcome(self, logits: Tensor, targets: Tensor) -> Outcome:
        """Judge each example."""
        raise NotImplementedError


TASKS: Registry[Task] = Registry("task", "mtlab.tasks", "mtlab.tasks", Task)
register_task = TASKS.register
