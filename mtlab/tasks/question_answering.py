"""Question answering as classification over the data set's answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from torch import Tensor

from mtlab.config.options import option
from mtlab.data.batches import Batch, Loader
from mtlab.errors import UserError
from mtlab.model.forward import ForwardContext
from mtlab.tasks import objectives
from mtlab.tasks.answers import generated
from mtlab.tasks.answers.vqa_accuracy import vqa_accuracy
from mtlab.tasks.base import BatchNeeds, Directions, ModelShape, register_task
from mtlab.tasks.classification import Classification, HeadOptions
from mtlab.tasks.evaluation import Evaluation, Floats, Outcome
from mtlab.tasks.heads import classifier


@register_task("question_answering")
class QuestionAnswering(Classification):
    """Choose one of the data set's answers; the loss is cross-entropy or binary, the metric accuracy.

    A language model (`model: mllm`) answers by the likelihood of each answer, or generates one, or uses the head.
    Where answers have scores, as in VQAv2, these are the targets, and `score` is the mean score of the answers chosen;
    accuracy is then the official one: how far the answers of ten people agree with it, all normalised. Source: the VQA
    head of METER, BridgeTower and ManagerTower (Linear, LayerNorm, GELU, Linear), trained there with the binary loss.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(HeadOptions):
        """Options of head and loss."""

        loss: Literal["cross_entropy", "binary"] = option(
            "cross_entropy",
            "cross_entropy over all answers, or binary: each answer by itself, summed over answers (published: VQAv2)",
        )

    answers_by = ("likelihood", "generate", "head")

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        self.generates = False
        pooled = 2 * width
        self.head = classifier(pooled, max(1, round(pooled * config.head_scale)), answers, config.head_layers)

    @classmethod
    def build(cls, config: Config, shape: ModelShape) -> Self:
        """Build the task; without a head where the encoder scores or generates the answers.

        Raises:
            UserError: likelihoods go with the loss of a choice alone.

        """
        if shape.likelihoods and config.loss == "binary":
            raise UserError("goes with a head: set model.answers to head", key="loss")
        task = super().build(config, shape)
        task.generates = shape.generates
        return task

    @classmethod
    def metric_directions(cls, config: Config, provides: Collection[str]) -> Directions:  # noqa: ARG003 - the data decide
        """Accuracy; where answers have scores, the mean score too."""
        return {**cls.metrics, "score": "max"} if "scores" in provides else cls.metrics

    @classmethod
    def batch_needs(cls, config: Config) -> BatchNeeds:  # noqa: ARG003 - whatever the loss
        """Scores of all answers, where the data have them."""
        return BatchNeeds(scores=True)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats, a scalar; targets are the right answers [B], or scores of all answers [B, A]."""
        if self.head is not None and self.config.loss == "binary":
            return objectives.binary_answers(logits, targets)
        return super().loss(logits, targets)

    def outcome(self, logits: Tensor, targets: Tensor) -> Outcome:
        """Score each example by the target of the likeliest answer; where targets are scores, that is `score` too."""
        outcome = super().outcome(logits, targets)
        if targets.ndim == 1:
            return outcome
        return replace(outcome, scores={**outcome.scores, "score": outcome.scores["accuracy"]})

    def losses(self, context: ForwardContext, batch: Batch) -> dict[str, Tensor]:
        """Compute the loss of a batch; of answers to be generated, that of the right one's tokens alone."""
        return generated.losses(context, batch) if self.generates else super().losses(context, batch)

    def evaluate(self, context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None]) -> Evaluation:
        """Evaluate each example; where annotators answered it, accuracy is how far they agree."""
        if self.generates:
            return generated.evaluate(self.blind_answers(loader.examples), context, loader, batch, between)
        evaluation = super().evaluate(context, loader, batch, between)
        answers = loader.options.answers
        if answers is None or evaluation.predictions is None:
            return evaluation

        def official(given: Sequence[int], scored: Sequence[float]) -> Floats:
            return np.array(
                [
                    vqa_accuracy(answers[answer], example.annotators) if example.annotators else score
                    for answer, example, score in zip(given, loader.examples, scored, strict=True)
                ]
            )

        accuracy = official(evaluation.predictions.tolist(), evaluation.outcomes.tolist())
        blind = official(self.blind_answers(loader.examples), evaluation.blind_scores["accuracy"].tolist())
        return replace(
            evaluation,
            scores={**evaluation.scores, "accuracy": accuracy},
            blind_scores={**evaluation.blind_scores, "accuracy": blind},
        )
