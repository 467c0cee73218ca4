"""The interface of a task: head, loss, metrics, and the outcome of each example.

Shapes: B examples, D width, A answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from mtlab.config.nodes import lookup_options
from mtlab.config.registry import NoOptions, Registry
from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.errors import UserError
from mtlab.model.base import CrossModalOutput
from mtlab.model.forward import ForwardContext
from mtlab.model.network import Head
from mtlab.tasks.evaluation import Evaluation, Outcome, evaluate_each
from mtlab.towers.base import TowerShape

Directions = Mapping[str, Literal["max", "min"]]  #: metric → which way is better


@dataclass(frozen=True)
class ModelShape:
    """The sizes that a task's heads depend on."""

    width: int  #: D
    answers: int  #: A, of the data set
    text: TowerShape
    image: TowerShape
    norm_eps: float  #: of the cross-modal layers' LayerNorms
    likelihoods: bool = False  #: the encoder scores the answers itself: no head is needed
    generates: bool = False  #: and generates them


@dataclass(frozen=True)
class BatchNeeds:
    """What a task needs in its batches beside text, image and right answer."""

    scores: bool = False  #: scores of all answers, where the data have them
    mask_share: float | None = None  #: texts with this share of their tokens masked
    whole_words: bool | None = None  #: mask all pieces of a word; None: where the text tower's vocabulary tells
    negatives: bool = False  #: pairs of a text and another text's image, in evaluation
    negatives_in_training: bool = False  #: the same in training
    image_ids: bool = False  #: which texts have the same image
    caption_prompt: str | None = None  #: texts are captions to be learnt, behind this instruction


@dataclass(frozen=True)
class PassCounts:
    """How often the parts of a model run forward for one training example."""

    towers: int = 1  #: published arithmetic: each objective has passes of its own
    fusion: int = 1
    texts: int = 1  #: as executed: plain texts are read once for all objectives
    masked_texts: int = 0  #: with words masked: never from a cache
    images: float = 1.0


class Task(Head):
    """A task on the cross-modal encoder's output for a text and one or more images: a module that holds the heads.

    A plain task answers each example from its pooled features and overrides `forward`, `loss` and `outcome` alone.
    """

    Config: ClassVar[type[Any]] = NoOptions
    metrics: ClassVar[Directions] = {}  #: its metrics; the first is the primary one
    without_families: ClassVar[frozenset[str]] = frozenset()  #: those that are no mean over outcomes
    needs: ClassVar[str] = "answers"  #: what a data set must hold to train it, one of its `Dataset.provides`
    classes: ClassVar[Sequence[str] | None] = None  #: the answers in their order, where the task fixes them
    answers_by: ClassVar[Sequence[str]] = ("head",)  #: what `model.answers` of a language model may be
    answering: ClassVar[bool] = True  #: is it trained and evaluated by `answer`? Else it has forward passes of its own
    one_pass: ClassVar[bool] = True  #: does an evaluation run each example once?
    language_model: ClassVar[bool] = False  #: is it a task of `model: mllm` alone?

    def __init__(self, config: Any, width: int, answers: int) -> None:  # noqa: ARG002 - subclasses size the head by them
        super().__init__()
        self.config = config

    @classmethod
    def build(cls, config: Any, shape: ModelShape) -> Self:
        """Build the task for a model; a task whose heads need to know more than width and answers overrides this.

        Raises:
            UserError: the model lacks what the heads need.

        """
        return cls(config, shape.width, shape.answers)

    @classmethod
    def check(cls, name: str, data: str, provides: Collection[str], answers: Sequence[str]) -> None:
        """Refuse at plan time a data set that the task cannot be trained on.

        Args:
            name: the task's.
            data: the data set's name.
            provides: what the data set holds.
            answers: the answers that can be given.

        Raises:
            UserError: it lacks what the task needs, or has other answers; its key is `task.name`.

        """
        if cls.needs not in provides:
            raise UserError(f"data set {data!r} has no {cls.needs}, which {name!r} is trained on", key="task.name")
        if cls.classes is not None and [answer.casefold() for answer in answers] != list(cls.classes):
            own = ", ".join(cls.classes)
            given = ", ".join(answers[:4]) + (" …" if len(answers) > 4 else "")
            problem = f"{name!r} has {len(cls.classes)} answers ({own}); data set {data!r} has {len(answers)} ({given})"
            if sorted(answer.casefold() for answer in answers) == sorted(cls.classes):
                problem += ", in another order: convert them (`mtlab data convert jsonl` with `kind`), and use `shards`"
            raise UserError(problem, key="task.name")

    @classmethod
    def reads_each_alone(cls) -> bool:
        """Return whether a text is read with its own images alone, in one model: what a language model can do."""
        return cls.answering or cls.language_model

    @classmethod
    def metric_directions(cls, config: Any, provides: Collection[str]) -> Directions:  # noqa: ARG003 - subclasses read them
        """Return the metrics with these options on a data set that provides this; the first is the primary one."""
        return cls.metrics

    @classmethod
    def families(cls, examples: Sequence[Example]) -> frozenset[str]:
        """Return the families of the outcomes of these examples: `val/METRIC/FAMILY` is the mean over those of one."""
        return frozenset(example.family for example in examples)

    @classmethod
    def batch_needs(cls, config: Any) -> BatchNeeds:  # noqa: ARG003 - subclasses read it
        """Return what batches must hold."""
        return BatchNeeds()

    @classmethod
    def contrasts(cls, config: Any, batch: int) -> int | None:  # noqa: ARG003 - subclasses read them
        """Return how many examples of a batch share a contrastive loss; None if each has a loss of its own."""
        return None

    @classmethod
    def pass_counts(cls, config: Any) -> PassCounts:  # noqa: ARG003 - subclasses read it
        """Return how often towers and encoder run for one training example; images of one text count as one."""
        return PassCounts()

    @classmethod
    def fusions_to_evaluate(cls, config: Any, examples: int) -> int:  # noqa: ARG003 - subclasses read it
        """Estimate how often the encoder runs to evaluate a split of so many examples."""
        return examples

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, 2D · images] → logits [B, A]."""
        raise NotImplementedError

    def answer(self, fused: Sequence[CrossModalOutput]) -> Tensor:
        """Answer from a text and each of its images → logits [B, A]; unless overridden, from the pooled features."""
        logits: Tensor = self(torch.cat([each.pooled for each in fused], -1))
        return logits

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the batch, a scalar."""
        raise NotImplementedError

    def outcome(self, logits: Tensor, targets: Tensor) -> Outcome:
        """Answer and score each example.

        Args:
            logits: as of `answer`, [B, A].
            targets: int64 [B], −1 where the right answer cannot be given; or a score of each answer, [B, A].

        Returns:
            The chosen answers, [B], and metric → scores, [B]; the first metric is the primary one.

        """
        raise NotImplementedError

    def blind_answers(self, examples: Sequence[Example]) -> Sequence[int] | None:  # noqa: ARG002 - subclasses read them
        """Choose an answer for each example by its family alone, as well as that can be done; None: there is no such.

        Scored by `outcome`, it is the floor that a model must be above to have learned anything.
        """
        return None

    def losses(self, context: ForwardContext, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of a batch, each a mean over its `loss_counts`.

        Args:
            context: the model, and how it is run.
            batch: on the model's device.

        Returns:
            Name → a scalar; names are among those of `loss_counts`. What a batch has nothing of (no word is masked)
            may be left out. Training minimises their sum, weighed by `loss_weights`.

        """
        return {"loss": self.loss(context.answer(batch), batch.targets)}

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Count what each of `losses` is a mean over: examples, unless overridden. Nothing is read from a device."""
        return {"loss": len(batch)}

    def loss_weights(self) -> Mapping[str, float]:
        """Weigh `losses` against each other; those not named count as they are."""
        return {}

    def evaluate(self, context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None]) -> Evaluation:
        """Evaluate a whole split, every example once; the model is in evaluation mode.

        Args:
            context: the model, and how it is run.
            loader: the split.
            batch: examples in one forward pass.
            between: called before each batch (an interruption may raise from here).

        """
        return evaluate_each(self, context, loader, batch, between)


TASKS: Registry[Task] = Registry("task", ("mtlab.tasks",), "mtlab.tasks", Task)
register_task = TASKS.register


def lookup_task(config: Mapping[str, Any]) -> tuple[type[Task], Any]:
    """Look up the task of a resolved configuration: its class, and its options.

    Raises:
        UserError: no such task, or a wrong option.

    """
    entry, options = lookup_options(TASKS, config["task"], "task")
    return entry.cls, options
