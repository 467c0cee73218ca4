"""Iterators that run in worker processes of torch's data loader; an error in one is raised here, on one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mtlab.errors import UserError

T = TypeVar("T")
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
        UserError: a worker raised it, or was killed.

    """
    if workers == 0:
        yield from make(0, 1)
        return
    loader = DataLoader(_WorkerItems(make), batch_size=None, num_workers=workers, collate_fn=_identity)
    try:
        for item in loader:
            if isinstance(item, UserError):
                raise item
            yield item
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a process that reads shards was killed (out of memory, or of shared memory?): use fewer workers"
        ) from error


def _identity(item: Any) -> Any:
    return item
