"""Trains runs one after the other as the worker does, in single or double precision, and stops some of them.

For `torchrun` too. Each argument is `single:RUN_DIR` or `double:RUN_DIR`; `@17` behind it sends SIGTERM to the last
process after step 17. Ends with the largest exit code that was not asked for.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import toys  # noqa: F401 - registers the data sets
from torch import Tensor

from mtlab.data.batches import Batch
from mtlab.data.inputs import map_tensors
from mtlab.distributed import torch_process_group
from mtlab.distributed.process_group import ProcessGroup
from mtlab.tasks.ranking import recall
from mtlab.training import loop, worker
from mtlab.training.assemble import AssembledRun


def double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def assembled_double(assemble: Callable[..., AssembledRun], *given: Any) -> AssembledRun:
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
        self.kills = self.kills.double()


@contextmanager
def in_double() -> Iterator[None]:
    """Within, runs are in double precision, and log the loss of every step."""
    with (
        mock.patch.object(loop, "LOG_EVERY", 1),
        mock.patch.object(Batch, "to", lambda self, _: self._each(double)),
        mock.patch.object(recall, "moved", lambda given, _: map_tensors(given, double)),
        mock.patch.object(loop, "train_step", partial(step_double, loop.train_step)),
        mock.patch.object(worker, "assemble", partial(assembled_double, worker.assemble)),
        mock.patch.object(worker, "Loop", DoubleLoop),
    ):
        yield


@contextmanager
def stopping(group: ProcessGroup, step: int) -> Iterator[None]:
    """Within, the last process of a group gets SIGTERM after a step."""
    make = loop.Loop._step

    def stop(self: loop.Loop, *given: Any) -> None:
        make(self, *given)
        if self.progress.step == step and group.ranks.rank == group.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with mock.patch.object(loop.Loop, "_step", stop):
        yield


def train(group: ProcessGroup, argument: str) -> int:
    precision, _, rest = argument.partition(":")
    folder, _, step = rest.partition("@")
    if step:
        with stopping(group, int(step)):
            code = train(group, f"{precision}:{folder}")
        return code - 128 - signal.SIGTERM
    if precision == "double":
        with in_double():
            return worker.train_in_group(group, Path(folder))
    return worker.train_in_group(group, Path(folder))


if __name__ == "__main__":
    with torch_process_group.init_process_group() as together:
        codes = [train(together, argument) for argument in sys.argv[1:]]
    sys.exit(max(map(abs, codes)))
