"""Base of tasks that choose one of several answers from the pooled features.

Shapes: B examples, D width, A answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.data.base import Example
from mtlab.model.base import CrossModalOutput
from mtlab.tasks import objectives
from mtlab.tasks.base import Directions, ModelShape, Task
from mtlab.tasks.evaluation import Outcome


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """Options of a classification head."""

    head_layers: Literal[1, 2] = option(2, "layers of the head; 1: a single Linear")
    head_scale: float = option(1.0, "inner width of a head of two layers, in pooled widths 2D", above=0.0)


class Classification(Task):
    """Choose one answer; the loss is cross-entropy, the metric accuracy. A subclass defines the head.

    A language model (`model: mllm`) answers by the likelihood of each answer's words, or uses the head.
    """

    metrics: ClassVar[Directions] = {"accuracy": "max"}
    answers_by: ClassVar[Sequence[str]] = ("likelihood", "head")
    head: nn.Module | None

    @classmethod
    def build(cls, config: Any, shape: ModelShape) -> Self:
        """Build the task; without a head where the encoder scores the answers."""
        task = cls(config, shape.width, shape.answers)
        if shape.likelihoods:
            task.head = None
        return task

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, 2D · images] → logits [B, A]."""
        assert self.head is not None, "without a head there are no logits"
        logits: Tensor = self.head(pooled)
        return logits

    def answer(self, fused: Sequence[CrossModalOutput]) -> Tensor:
        """Answer by the head → logits [B, A]; without one, what the encoder has scored."""
        if self.head is not None:
            return super().answer(fused)
        scores = fused[0].likelihoods
        assert scores is not None, "an encoder without a head scores the answers"
        return scores

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats, a scalar.

        Of likelihoods it is the loss of the right answer's tokens alone, over the whole vocabulary.
        """
        if self.head is None:
            return objectives.likelihood(logits, objectives.shares(targets))
        return objectives.classification(logits, objectives.shares(targets))

    def blind_answers(self, examples: Sequence[Example]) -> Sequence[int]:
        """Return the best single answer of each example's family: the most frequent, or that of the highest scores."""
        credit: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for example in examples:
            for answer, score in example.scores or ((example.target, 1.0),):
                if answer >= 0:
                    credit[example.family][answer] += score
        best = {family: max(sorted(found), key=found.__getitem__) for family, found in credit.items()}
        return [best.get(example.family, 0) for example in examples]

    def outcome(self, logits: Tensor, targets: Tensor) -> Outcome:
        """Score each example by the target of the most likely answer: 1 or 0, or its score where answers have some."""
        return Outcome(logits.argmax(-1), {"accuracy": objectives.answer_scores(logits, targets)})
