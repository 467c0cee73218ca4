"""Question answering as classification over the data set's answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mtlab.config.options import option
from mtlab.tasks import objectives
from mtlab.tasks.base import register_task
from mtlab.tasks.classification import Classification, HeadOptions
from mtlab.tasks.heads import classifier


@register_task("question_answering")
class QuestionAnswering(Classification):
    """Choose one of the data set's answers; the loss is cross-entropy or binary, the metric accuracy.

    Where answers have scores, as in VQAv2, accuracy is the mean score of those chosen. Source: the VQA head of METER,
    BridgeTower and ManagerTower (Linear, LayerNorm, GELU, Linear), trained there with the binary loss.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(HeadOptions):
        """Options of head and loss."""

        loss: Literal["cross_entropy", "binary"] = option(
            "cross_entropy",
            "cross_entropy over all answers, or binary: each answer by itself, summed over answers (published: VQAv2)",
            legacy="cross_entropy",
        )

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        pooled = 2 * width
        self.head = classifier(pooled, max(1, round(pooled * config.head_scale)), answers, config.head_layers)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats, a scalar; targets are the right answers [B], or scores of all answers [B, A]."""
        if self.config.loss == "binary":
            return objectives.binary_answers(logits, targets)
        return objectives.classification(logits, targets)
