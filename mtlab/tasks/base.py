"""The interface of a task: head, loss, metrics, and the outcome of each example.

Shapes: B examples, D width, A answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from mtlab.encoder import Fused
from mtlab.errors import UserError
from mtlab.registry import NoOptions, Registry
from mtlab.towers.base import TowerShape


@dataclass(frozen=True)
class Outcome:
    """What became of each example of a batch; the mean of `scores[m]` over examples is metric `m`."""

    predictions: Tensor  #: [B], index of the chosen answer
    scores: Mapping[str, Tensor]  #: metric → [B], float


@dataclass(frozen=True)
class Site:
    """The model that a task is built for: what its heads are sized by."""

    width: int  #: D
    answers: int  #: A, what the data set can answer
    text: TowerShape
    image: TowerShape
    norm_eps: float  #: of the cross-modal layers' LayerNorms


class Task(nn.Module):
    """A task on what the cross-modal encoder makes of a text and one or more pictures: a module that holds the heads.

    A plain task answers each example from its pooled features: it needs `forward`, `loss` and `outcome` alone.
    """

    Config: ClassVar[type[Any]] = NoOptions
    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {}  #: what `outcome` scores, and which way is better
    needs: ClassVar[str] = "answers"  #: what a data set must hold to train it, one of its `Dataset.provides`
    pictures: ClassVar[int] = 1  #: images that a text goes with: a batch holds all first ones, then all second ones
    classes: ClassVar[Sequence[str] | None] = None  #: the answers in their order, where the task fixes them

    def __init__(self, config: Any, width: int, answers: int) -> None:  # noqa: ARG002 - subclasses size the head by them
        super().__init__()
        self.config = config

    @classmethod
    def build(cls, config: Any, site: Site) -> Self:
        """Build the task for a model; a task whose heads need to know more than width and answers overrides this.

        Raises:
            UserError: the model lacks what the heads need.

        """
        return cls(config, site.width, site.answers)

    @classmethod
    def check(cls, name: str, data: str, provides: Collection[str], answers: int) -> None:
        """Refuse at plan time a data set that the task cannot be trained on.

        Args:
            name: the task's.
            data: the data set's name.
            provides: what the data set holds.
            answers: how many answers it has.

        Raises:
            UserError: it lacks what the task needs, or has other answers; its key is `task.name`.

        """
        if cls.needs not in provides:
            raise UserError(f"data set {data!r} has no {cls.needs}, which {name!r} is trained on", key="task.name")
        if cls.classes is not None and answers != len(cls.classes):
            told = ", ".join(cls.classes)
            raise UserError(
                f"{name!r} has {len(cls.classes)} answers ({told}); data set {data!r} has {answers}", key="task.name"
            )

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, 2D · pictures] → logits [B, A]."""
        raise NotImplementedError

    def answer(self, fused: Sequence[Fused]) -> Tensor:
        """Answer from a text and each of its pictures → logits [B, A]; unless overridden, from the pooled features."""
        logits: Tensor = self(torch.cat([run.pooled for run in fused], -1))
        return logits

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the batch, a scalar."""
        raise NotImplementedError

    def outcome(self, logits: Tensor, targets: Tensor) -> Outcome:
        """Judge each example."""
        raise NotImplementedError


TASKS: Registry[Task] = Registry("task", "mtlab.tasks", "mtlab.tasks", Task)
register_task = TASKS.register
