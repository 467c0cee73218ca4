"""Validation and test: every example exactly once, and what became of each."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mtlab.config.schema import TrainConfig
from mtlab.data.batches import Loader
from mtlab.model.forward import ForwardContext
from mtlab.tasks.base import Task
from mtlab.tasks.evaluation import Evaluation


@torch.inference_mode()
def evaluate(
    context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None] = lambda: None
) -> Evaluation:
    """Judge a model over a whole split, as its task will have it.

    Args:
        context: the model, already in evaluation mode, and how it is run.
        loader: the split.
        batch: examples in one forward pass.
        between: called before each batch (an interruption may raise from here).

    """
    task = context.model.task
    assert isinstance(task, Task)
    return task.evaluate(context, loader, batch, between)


def evaluation_batch(train: TrainConfig, processes: int = 1) -> int:
    """Choose the examples of one forward pass without gradients: twice what each process fits with them."""
    return 2 * min(train.micro_batch or train.batch, train.batch // processes)
