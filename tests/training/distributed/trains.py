"""Trains runs one after the other as the worker does, in single or double precision, and stops some of them.

For `torchrun` too. Each argument is `single:RUN_DIR` or `double:RUN_DIR`; `@17` behind it sends SIGTERM to the last
process after step 17. Ends with the largest exit code that was not asked for.
"""

import dataclasses
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

from mtlab.data import inputs
from mtlab.data.batches import Batch
from mtlab.distributed import torch_process_group
from mtlab.distributed.process_group import ProcessGroup
from mtlab.processes import end_process
from mtlab.tasks.ranking import recall
from mtlab.training import loop, worker
from mtlab.training.assemble import AssembledRun


def double(value: Any) -> Any:
    """Turn the floating-point tensors of a tensor, tuple or dataclass into double precision."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(map(double, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: double(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def assemble_double(assemble: Callable[..., AssembledRun], *args: Any) -> AssembledRun:
    run = assemble(*args)
    run.model.double()
    return run


def step_double(train_step: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Also what a step creates itself is of double precision."""
    torch.set_default_dtype(torch.float64)
    try:
        return train_step(*args, **kwargs)
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def in_double() -> Iterator[None]:
    """Within, runs are in double precision, and log the loss of every step."""
    with (
        mock.patch.object(loop, "LOG_EVERY", 1),
        mock.patch.object(Batch, "to", lambda batch, _: double(batch)),
        mock.patch.object(recall, "to_device", lambda given, device: double(inputs.to_device(given, device))),
        mock.patch.object(loop, "train_step", partial(step_double, loop.train_step)),
        mock.patch.object(worker, "assemble", partial(assemble_double, worker.assemble)),
    ):
        yield


@contextmanager
def stopping(group: ProcessGroup, step: int) -> Iterator[None]:
    """Within, the last process of a group gets SIGTERM after a step."""
    train_step = loop.train_step

    def step_and_stop(*args: Any, **kwargs: Any) -> Tensor:
        loss = train_step(*args, **kwargs)
        if kwargs["step"] == step - 1 and group.ranks.rank == group.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    with mock.patch.object(loop, "train_step", step_and_stop):
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
    end_process(max(map(abs, codes)))  # as `mtlab train` does: torch's threads abort now and then as they are torn down
