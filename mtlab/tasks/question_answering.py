"""Question answering as classification over the data set's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.tasks.base import Outcome, Task, register_task


@register_task("question_answering")
class QuestionAnswering(Task):
    """Choose one of the data set's answers; the loss is cross-entropy, the metric accuracy.

    Source: the VQA head of METER, BridgeTower and ManagerTower (Linear, LayerNorm, GELU, Linear).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options of the head."""

        head_layers: Literal[1, 2] = option(2, "layers of the head; 1: a single Linear")
        head_scale: float = option(1.0, "inner width of a head of two layers, in pooled widths 2D", above=0.0)

    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {"accuracy": "max"}

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        pooled = 2 * width
        inner = max(1, round(pooled * config.head_scale))
        self.head: nn.Module = nn.Linear(pooled, answers)
        if config.head_layers == 2:
            self.head = nn.Sequential(
                nn.Linear(pooled, inner), nn.LayerNorm(inner), nn.GELU(), nn.Linear(inner, answers)
            )

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, 2D] → logits [B, A]."""
        logits: Tensor = self.head(pooled)
        return logits

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats, a scalar."""
        return F.cross_entropy(logits, targets)

    def outcome(self, logits: Tensor, targets: Tensor) -> Outcome:
        """Judge each example: 1 where the most likely answer is the right one, else 0."""
        predictions = logits.argmax(-1)
        return Outcome(predictions, {"accuracy": (predictions == targets).to(logits.dtype)})
