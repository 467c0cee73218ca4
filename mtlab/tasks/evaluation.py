"""What became of a split: judged example by example, or as its task will have it.

Shapes: n examples of a split, B of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from mtlab.data.batches import Batch, Loader
    from mtlab.model.forward import ForwardContext
    from mtlab.tasks.base import Task

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What became of each example of a batch; the mean of `scores[m]` over examples is metric `m`."""

    predictions: Tensor  #: [B], index of the chosen answer
    scores: Mapping[str, Tensor]  #: metric → [B], float


@dataclass(frozen=True)
class Evaluation:
    """What became of a split. An outcome is that of one example, in the split's order, unless the task says otherwise.

    The mean of `scores[m]` over all outcomes is metric `m`, and over those of a family the family's.
    """

    loss: float
    ids: Sequence[str]  #: of the outcomes
    families: Sequence[str]
    scores: Mapping[str, Floats]  #: metric → outcomes; the first is the task's primary metric
    targets: NDArray[np.int64] | None = None  #: right answers by number, −1: cannot be given; None: there are none
    predictions: NDArray[np.int64] | None = None  #: the answers given, by number
    answer_texts: Sequence[tuple[str, str]] | None = (
        None  #: right and given answer of each example, where numbers say nothing
    )
    extra_metrics: Mapping[str, float] = field(default_factory=dict)  #: metrics that are no mean over outcomes
    table: Mapping[str, Sequence[Any]] | None = None  #: columns of a table that tells more than the outcomes do

    @property
    def primary(self) -> str:
        """Name the primary metric."""
        return next(iter(self.scores))

    @property
    def outcomes(self) -> Floats:
        """The outcomes in the primary metric."""
        return self.scores[self.primary]

    def metrics(self, split: str) -> dict[str, float]:
        """Average: `split/loss`, `split/primary`, `split/METRIC`, and `split/METRIC/FAMILY` for each family."""
        families = np.array(self.families)
        values = {f"{split}/loss": self.loss, f"{split}/primary": float(self.outcomes.mean())}
        for metric, scores in self.scores.items():
            values[f"{split}/{metric}"] = float(scores.mean())
            for family in sorted(set(self.families)):
                values[f"{split}/{metric}/{family}"] = float(scores[families == family].mean())
        return values | {f"{split}/{metric}": value for metric, value in self.extra_metrics.items()}

    def answers_in_words(self, row: int, answers: Sequence[str]) -> tuple[str, str]:
        """Say in words what is right of an example and what was given; `answers` are those that numbers stand for."""
        if self.answer_texts is not None:
            return self.answer_texts[row]
        assert self.targets is not None, "who has no numbers tells words"
        assert self.predictions is not None, "who has no numbers tells words"
        right, given = int(self.targets[row]), int(self.predictions[row])
        return answers[right] if right >= 0 else "none of the answers", answers[given]


@dataclass(frozen=True)
class PassOutput:
    """What one pass over some examples gave, left on the device."""

    rows: Sequence[int]  #: the examples' positions in the split
    tensors: Mapping[str, Tensor]
    counts: Mapping[str, int] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> PassOutput:
        """Move to a device."""
        return PassOutput(self.rows, {name: held.to(device) for name, held in self.tensors.items()}, self.counts)


@dataclass(frozen=True)
class SplitOutput:
    """What all passes over a split gave."""

    seen: Sequence[PassOutput]

    @property
    def back(self) -> NDArray[np.int64]:
        """Where each example of the split is among those that were seen, [n]."""
        return np.argsort(np.array([row for each in self.seen for row in each.rows]))

    def all(self, name: str) -> list[Tensor]:
        """Take a tensor of each pass that has it."""
        return [each.tensors[name] for each in self.seen if name in each.tensors]

    def in_order(self, name: str) -> Tensor:
        """Put what each pass found of its examples together, in the split's order, [n, …]."""
        whole = torch.cat(self.all(name))
        return whole[torch.from_numpy(self.back).to(whole.device)]

    def floats(self, name: str) -> Floats:
        """The same as double precision on the CPU."""
        found: Floats = self.in_order(name).double().cpu().numpy()
        return found

    def mean(self, name: str) -> float:
        """Sum up a scalar over all passes, divided by its count; NaN if that is 0."""
        count = sum(each.counts.get(name, 0) for each in self.seen)
        return float(torch.stack(self.all(name)).sum()) / count if count else math.nan


def run_split(
    context: ForwardContext,
    loader: Loader,
    batch: int,
    between: Callable[[], None],
    look: Callable[[Batch], PassOutput],
) -> SplitOutput:
    """Look at every example of a split once; several processes share the passes, and all learn everything.

    Nothing is read from the device here. Arguments as of `Task.judge`, and:

    Args:
        context: the model, and how it is run.
        loader: the split.
        batch: examples in one forward pass.
        between: called before each pass.
        look: runs one pass, over a batch that is still on the CPU.

    """
    seen = [look(loader.batch(rows)) for rows in context.group.shard(loader.evaluation_rows(batch), between)]
    if context.group.world_size == 1:
        return SplitOutput(seen)
    joined = context.group.all_gather_objects([each.to("cpu") for each in seen])
    return SplitOutput([each.to(context.device) for each in joined])


@torch.inference_mode()
def evaluate(
    context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None] = lambda: None
) -> Evaluation:
    """Evaluate a model over a whole split, as its task defines it; arguments as of `Task.evaluate`."""
    task = cast("Task", context.model.task)
    return task.evaluate(context, loader, batch, between)


def evaluate_each(
    task: Task, context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None] = lambda: None
) -> Evaluation:
    """Judge each example by itself; nothing is read from the device before the end. Arguments as of `Task.judge`."""

    def look(chosen: Batch) -> PassOutput:
        held = chosen.to(context.device)
        given = context.answer(held)
        outcome = task.outcome(given, held.targets)
        known, count = _answerable(chosen.targets)
        found = {"prediction": outcome.predictions}
        found |= {f"score/{name}": scores for name, scores in outcome.scores.items()}
        if count:
            found["loss"] = task.loss(given[known], held.targets[known]).double() * count
        return PassOutput(chosen.rows, found, {"loss": count})

    gathered = run_split(context, loader, batch, between, look)
    examples = loader.examples
    names = [name for name in gathered.seen[0].tensors if name.startswith("score/")]
    return Evaluation(
        loss=gathered.mean("loss"),
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        scores={name.removeprefix("score/"): gathered.floats(name) for name in names},
        targets=np.array([example.target for example in examples], np.int64),
        predictions=gathered.in_order("prediction").cpu().numpy().astype(np.int64),
    )


def _answerable(targets: Tensor) -> tuple[slice | Tensor, int]:
    """Tell which examples of a batch, still on the CPU, have a right answer that can be given, and how many."""
    known = targets != -1 if targets.ndim == 1 else (targets > 0).any(1)
    if known.all():
        return slice(None), len(targets)
    chosen = known.nonzero().squeeze(1)
    return chosen, len(chosen)
