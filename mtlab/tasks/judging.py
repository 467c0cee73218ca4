"""What became of a split: judged example by example, or as its task will have it.

Shapes: n examples of a split, B of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from mtlab.data.batches import Loader
    from mtlab.tasks.base import Task
    from mtlab.training.steps import Passes

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
    told: Sequence[tuple[str, str]] | None = None  #: right and given answer of each example, where numbers say nothing
    further: Mapping[str, float] = field(default_factory=dict)  #: metrics that are no mean over outcomes
    listing: Mapping[str, Sequence[Any]] | None = None  #: columns of a table that tells more than the outcomes do

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
        return values | {f"{split}/{metric}": value for metric, value in self.further.items()}

    def words(self, row: int, answers: Sequence[str]) -> tuple[str, str]:
        """Say in words what is right of an example and what was given; `answers` are those that numbers stand for."""
        if self.told is not None:
            return self.told[row]
        assert self.targets is not None, "who has no numbers tells words"
        assert self.predictions is not None, "who has no numbers tells words"
        right, given = int(self.targets[row]), int(self.predictions[row])
        return answers[right] if right >= 0 else "none of the answers", answers[given]


def judge_each(
    task: Task, run: Passes, loader: Loader, batch: int, between: Callable[[], None] = lambda: None
) -> Evaluation:
    """Judge each example by itself; nothing is read from the device before the end. Arguments as of `Task.judge`."""
    rows: list[int] = []
    losses, predictions, scores = [], [], []
    answerable = 0
    for chosen in loader.once(batch):
        between()
        held = chosen.to(run.device)
        given = run.answer(held)
        outcome = task.outcome(given, held.targets)
        known, count = _answerable(chosen.targets)
        if count:
            losses.append(task.loss(given[known], held.targets[known]).double() * count)
            answerable += count
        predictions.append(outcome.predictions)
        scores.append(outcome.scores)
        rows += chosen.rows
    back = np.argsort(np.array(rows))
    examples = loader.examples
    return Evaluation(
        loss=float(torch.stack(losses).sum()) / answerable if answerable else math.nan,
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        scores={name: in_order([part[name] for part in scores], back) for name in scores[0]},
        targets=np.array([example.target for example in examples], np.int64),
        predictions=torch.cat(predictions).cpu().numpy().astype(np.int64)[back],
    )


def in_order(parts: Sequence[Tensor], back: NDArray[np.int64]) -> Floats:
    """Join what was measured batch by batch, [n], and bring it into the split's order."""
    joined: Floats = torch.cat(list(parts)).double().cpu().numpy()[back]
    return joined


def _answerable(targets: Tensor) -> tuple[slice | Tensor, int]:
    """Tell which examples of a batch, still on the CPU, have a right answer that can be given, and how many."""
    known = targets != -1 if targets.ndim == 1 else (targets > 0).any(1)
    if known.all():
        return slice(None), len(targets)
    chosen = known.nonzero().squeeze(1)
    return chosen, len(chosen)
