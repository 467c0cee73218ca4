"""Iterators that run in worker processes of torch's data loader; an error in one is raised here, on one line."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mtlab.errors import UserError

T = TypeVar("T")
_STOP = (signal.SIGINT, signal.SIGTERM)
MakeIterator = Callable[[int, int], Iterator[T]]  #: worker's number, number of workers → its items


class _WorkerItems(IterableDataset[Any]):
    def __init__(self, make: MakeIterator[Any]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        assert info is not None, "only workers iterate"
        try:
            yield from self.make(info.id, info.num_workers)
        except UserError as error:  # as a value: torch would bury it in a traceback
            yield error


def run_in_workers(make: MakeIterator[T], workers: int) -> Iterator[T]:
    """Yield the items of all workers, one of each in turn, until they end; with 0 workers, in this process.

    Raises:
        UserError: a worker raised it.
        RuntimeError: one was killed, see `training.failures`.

    """
    if workers == 0:
        yield from make(0, 1)
        return
    loader = DataLoader(
        _WorkerItems(make),
        batch_size=None,
        num_workers=workers,
        collate_fn=_identity,
        worker_init_fn=_leave_signals_to_the_main_process,
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # inherited: held back until a worker's handlers are set
    try:
        items = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for item in items:
        if isinstance(item, UserError):
            raise item
        yield item


def _leave_signals_to_the_main_process(_: int) -> None:
    """Read on where a whole process group is asked to stop: the main process needs batches up to its next safe moment.

    A second SIGTERM ends a worker: torch sends one to those that hang.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _take_the_first)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)


def _take_the_first(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)


def _identity(item: Any) -> Any:
    return item
