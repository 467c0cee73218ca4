"""Validation and test: every example exactly once, and what became of each.

Shapes: n examples of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.config.schema import TrainConfig
from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.tasks.base import Task


@dataclass(frozen=True)
class Evaluation:
    """What became of a split's examples, in the split's order."""

    loss: float  #: mean over the examples whose right answer can be given
    predictions: NDArray[np.int64]  #: [n]
    scores: Mapping[str, NDArray[np.float64]]  #: the task's metrics → outcome of each example, [n]

    def metrics(self, examples: Sequence[Example], split: str) -> dict[str, float]:
        """Average: `split/loss`, `split/METRIC`, and `split/METRIC/FAMILY` for each family of questions."""
        families = np.array([example.family for example in examples])
        values = {f"{split}/loss": self.loss}
        for metric, scores in self.scores.items():
            values[f"{split}/{metric}"] = float(scores.mean())
            for family in sorted(set(families.tolist())):
                values[f"{split}/{metric}/{family}"] = float(scores[families == family].mean())
        return values


@torch.inference_mode()
def evaluate(
    logits: Callable[[Batch], Tensor],
    task: Task,
    loader: Loader,
    batch: int,
    device: torch.device,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Run a model over a whole split; nothing is read from the device before the end.

    Args:
        logits: the model, already in evaluation mode: a batch → logits [B, A].
        task: judges the logits.
        loader: the split.
        batch: examples in one forward pass.
        device: the model's.
        between: called before each batch (an interruption may raise from here).

    """
    rows: list[int] = []
    losses, predictions, scores = [], [], []
    answerable = 0
    for chosen in loader.once(batch):
        between()
        held = chosen.to(device)
        given = logits(held)
        outcome = task.outcome(given, held.targets)
        known, count = _answerable(chosen.targets)
        if count:
            losses.append(task.loss(given[known], held.targets[known]).double() * count)
            answerable += count
        predictions.append(outcome.predictions)
        scores.append(outcome.scores)
        rows += chosen.rows
    back = np.argsort(np.array(rows))
    return Evaluation(
        loss=float(torch.stack(losses).sum()) / answerable,
        predictions=torch.cat(predictions).cpu().numpy().astype(np.int64)[back],
        scores={name: torch.cat([part[name] for part in scores]).double().cpu().numpy()[back] for name in scores[0]},
    )


def evaluation_batch(train: TrainConfig) -> int:
    """Choose the examples of one forward pass without gradients: twice what fits with them."""
    return 2 * (train.micro_batch or train.batch)


def _answerable(targets: Tensor) -> tuple[slice | Tensor, int]:
    """Tell which examples of a batch, still on the CPU, have a right answer that can be given, and how many."""
    unknown = targets == -1 if targets.ndim == 1 else targets.new_zeros(len(targets), dtype=torch.bool)
    if not unknown.any():
        return slice(None), len(targets)
    known = (~unknown).nonzero().squeeze(1)
    return known, len(known)
