"""Trains runs one after the other as the worker does, but in double precision, and logs the loss of every step.

For `torchrun` too. Arguments: whether to use double precision, then run directories.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import toys  # noqa: F401 - registers the data sets
from torch import Tensor

from mtlab.data.batches import Batch
from mtlab.data.inputs import each
from mtlab.tasks import ranking
from mtlab.training import distributed, loop, worker
from mtlab.training.assemble import Assembled


def double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def assembled_double(assemble: Callable[..., Assembled], *given: Any) -> Assembled:
    run = assemble(*given)
    run.model.double()
    return run


def step_double(make: Callable[..., Tensor], *given: Any, **named: Any) -> Tensor:
    """Also what a step creates itself is of double precision."""
    torch.set_default_dtype(torch.float64)
    try:
        return make(*given, **named)
    finally:
        torch.set_default_dtype(torch.float32)


class DoubleLoop(loop.Loop):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.losses = self.losses.double()


if __name__ == "__main__":
    wide, *folders = sys.argv[1:]
    loop.LOG_EVERY = 1
    if wide == "double":
        Batch.to = lambda self, _: self._each(double)  # type: ignore[method-assign]
        ranking.moved = lambda given, _: each(given, double)
        loop.train_step = partial(step_double, loop.train_step)
        worker.assemble = partial(assembled_double, worker.assemble)
        worker.Loop = DoubleLoop  # type: ignore[misc]
    with distributed.joined() as group:
        codes = [worker.train_in(group, Path(folder)) for folder in folders]
    sys.exit(max(codes))
