"""Evaluating a model on a split: example by example, or as its task defines it.

Shapes: n examples of a split, B of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mtlab.data.batches import Batch, Loader
from mtlab.model.forward import ForwardContext
from mtlab.statistics.learning import Floor, blind_floor, floor_metrics

if TYPE_CHECKING:
    from mtlab.tasks.base import Task  # which imports this module

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """Predictions and scores of the examples of a batch; metric `m` is the mean of `scores[m]` over examples."""

    predictions: Tensor  #: [B], index of the chosen answer
    scores: Mapping[str, Tensor]  #: metric → [B], float


@dataclass(frozen=True)
class Evaluation:
    """Loss and outcomes of a split; one outcome per example, in the split's order, unless the task says otherwise.

    Metric `m` is the mean of `scores[m]` over all outcomes, and that of a family the mean over its outcomes.
    """

    loss: float
    ids: Sequence[str]  #: of the outcomes
    families: Sequence[str]
    clusters: Sequence[str]  #: what each is about, such as an image: outcomes of one cluster are not independent
    scores: Mapping[str, Floats]  #: metric → outcomes; the first is the task's primary metric
    targets: NDArray[np.int64] | None = None  #: right answers by number, −1: cannot be given; None: there are none
    predictions: NDArray[np.int64] | None = None  #: the answers given, by number
    #: Right and given answer of each example in words, where it has no numbers.
    answer_texts: Sequence[tuple[str, str]] | None = None
    extra_metrics: Mapping[str, float] = field(default_factory=dict)  #: metrics that are no mean over outcomes
    #: metric → what the best answer without looking at text or image scores, outcome by outcome
    blind_scores: Mapping[str, Floats] = field(default_factory=dict)
    extra_floors: Mapping[str, Floor] = field(default_factory=dict)  #: of `extra_metrics`
    table: Mapping[str, Sequence[Any]] | None = None  #: columns of a table with more than the outcomes

    @property
    def primary(self) -> str:
        """The name of the primary metric."""
        return next(iter(self.scores))

    @property
    def outcomes(self) -> Floats:
        """The outcomes in the primary metric."""
        return self.scores[self.primary]

    def metrics(self, split: str) -> dict[str, float]:
        """Average: `split/loss`, `split/primary`, `split/METRIC`, and `split/METRIC/FAMILY` for each family."""
        values = {f"{split}/loss": self.loss, f"{split}/primary": float(self.outcomes.mean())}
        for metric, scores in self.scores.items():
            values[f"{split}/{metric}"] = float(scores.mean())
            values |= {f"{split}/{metric}/{family}": mean for family, mean in self.family_means(metric).items()}
        return values | {f"{split}/{metric}": value for metric, value in self.extra_metrics.items()}

    def family_means(self, metric: str) -> dict[str, float]:
        """Average a metric over the outcomes of each family."""
        families, scores = np.array(self.families), self.scores[metric]
        return {family: float(scores[families == family].mean()) for family in sorted(set(self.families))}

    def floors(self, split: str) -> dict[str, float]:
        """Return `split/METRIC_floor`, what a blind model scores, and the standard error of a difference from it.

        For the primary metric and all others that have one, overall and by family; without an error where examples
        are too few to tell; see `statistics.learning`.
        """
        families, clusters = np.array(self.families), np.unique(self.clusters, return_inverse=True)[1]
        found = dict(self.extra_floors)
        for metric, blind in self.blind_scores.items():
            names = [metric, "primary"] if metric == self.primary else [metric]
            whole = blind_floor(self.scores[metric], blind, clusters)
            found |= dict.fromkeys(names, whole)
            for family in sorted(set(self.families)):
                own = families == family
                of_family = blind_floor(self.scores[metric][own], blind[own], clusters[own])
                found |= {f"{name}/{family}": of_family for name in names}
        values: dict[str, float] = {}
        for metric, floor in found.items():
            values |= dict(zip(floor_metrics(f"{split}/{metric}"), (floor.score, floor.error), strict=True))
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def answers_in_words(self, row: int, answers: Sequence[str]) -> tuple[str, str]:
        """Return right and given answer of an example in words; `answers` are the names of the numbers."""
        if self.answer_texts is not None:
            return self.answer_texts[row]
        assert self.targets is not None, "without texts there are numbers"
        assert self.predictions is not None, "without texts there are numbers"
        right, given = int(self.targets[row]), int(self.predictions[row])
        return answers[right] if right >= 0 else "none of the answers", answers[given]


@dataclass(frozen=True)
class PassOutput:
    """Results of one forward pass over some examples of a split, left on the device."""

    rows: Sequence[int]  #: the examples' positions in the split
    tensors: Mapping[str, Tensor]
    counts: Mapping[str, int] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> PassOutput:
        """Move to a device."""
        return PassOutput(self.rows, {name: held.to(device) for name, held in self.tensors.items()}, self.counts)


@dataclass(frozen=True)
class SplitOutput:
    """Results of all forward passes over a split."""

    passes: Sequence[PassOutput]

    def all(self, name: str) -> list[Tensor]:
        """Return a tensor of each pass that has it."""
        return [each.tensors[name] for each in self.passes if name in each.tensors]

    def in_order(self, name: str) -> Tensor:
        """Concatenate a tensor of all passes in the split's order, [n, …]."""
        order = np.argsort(np.array([row for each in self.passes for row in each.rows]))
        whole = torch.cat(self.all(name))
        return whole[torch.from_numpy(order).to(whole.device)]

    def floats(self, name: str) -> Floats:
        """Return the same in double precision on the CPU."""
        values: Floats = self.in_order(name).double().cpu().numpy()
        return values

    def mean(self, name: str) -> float:
        """Sum a scalar over all passes and divide it by its count; NaN if that is 0."""
        count = sum(each.counts.get(name, 0) for each in self.passes)
        return float(torch.stack(self.all(name)).sum()) / count if count else math.nan


def run_split(
    context: ForwardContext,
    loader: Loader,
    batch: int,
    between: Callable[[], None],
    run_batch: Callable[[Batch], PassOutput],
    rows: Iterable[int] | None = None,
) -> SplitOutput:
    """Run every example of a split (or those at `rows`) once; several processes share the passes, and each gets it all.

    Nothing is read from the device here.

    Args:
        context: the model, and how it is run.
        loader: the split.
        batch: examples in one forward pass.
        between: called before each pass.
        run_batch: runs one pass, over a batch that is still on the CPU.
        rows: positions in the split; None: all.

    """
    rounds = context.group.shard(loader.evaluation_rows(batch, rows), between)
    outputs = [run_batch(loader.batch(rows)) for rows in rounds]
    if context.group.world_size == 1:
        return SplitOutput(outputs)
    gathered = context.group.all_gather_objects([each.to("cpu") for each in outputs])
    return SplitOutput([each.to(context.device) for each in gathered])


@torch.inference_mode()
def evaluate(
    context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None] = lambda: None
) -> Evaluation:
    """Evaluate a model on a whole split, as its task defines it; arguments as of `Task.evaluate`."""
    task = cast("Task", context.model.task)
    return task.evaluate(context, loader, batch, between)


def evaluate_each(
    task: Task, context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None] = lambda: None
) -> Evaluation:
    """Evaluate each example by itself, reading from the device at the end alone; arguments as of `Task.evaluate`."""
    blind = task.blind_answers(loader.examples)

    def run_batch(batch: Batch) -> PassOutput:
        on_device = batch.to(context.device)
        logits = context.answer(on_device)
        outcome = task.outcome(logits, on_device.targets)
        rows, count = answerable(batch.targets)
        tensors = {"prediction": outcome.predictions}
        tensors |= {f"score/{name}": scores for name, scores in outcome.scores.items()}
        if blind is not None:
            given = torch.tensor([blind[row] for row in batch.rows], device=context.device)
            guessed = task.outcome(F.one_hot(given, logits.shape[-1]).to(logits.dtype), on_device.targets)
            tensors |= {f"blind/{name}": scores for name, scores in guessed.scores.items()}
        if count:
            tensors["loss"] = task.loss(logits[rows], on_device.targets[rows]).double() * count
        return PassOutput(batch.rows, tensors, {"loss": count})

    output = run_split(context, loader, batch, between, run_batch)
    examples = loader.examples
    names = [name for name in output.passes[0].tensors if name.startswith("score/")]
    return Evaluation(
        loss=output.mean("loss"),
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        clusters=[example.cluster for example in examples],
        scores={name.removeprefix("score/"): output.floats(name) for name in names},
        targets=np.array([example.target for example in examples], np.int64),
        predictions=output.in_order("prediction").cpu().numpy().astype(np.int64),
        blind_scores={}
        if blind is None
        else {name.removeprefix("score/"): output.floats(name.replace("score/", "blind/")) for name in names},
    )


def answerable(targets: Tensor) -> tuple[slice | Tensor, int]:
    """Select the examples of a batch, still on the CPU, whose right answer can be given.

    Args:
        targets: int64 [B], −1 where it cannot be given; or a score of each answer, [B, A], all 0 there.

    Returns:
        What indexes their rows, a slice of all or int64 [n], and n, how many they are.

    """
    known = targets != -1 if targets.ndim == 1 else (targets > 0).any(1)
    if known.all():
        return slice(None), len(targets)
    chosen = known.nonzero().squeeze(1)
    return chosen, len(chosen)
