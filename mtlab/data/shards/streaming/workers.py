"""Work that several processes share, by torch's data loader; what goes wrong in one is raised here in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mtlab.errors import UserError

T = TypeVar("T")
Make = Callable[[int, int], Iterator[T]]  #: number of the worker, workers → what it gives


class _Work(IterableDataset[Any]):
    def __init__(self, make: Make[Any]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        about = get_worker_info()
        assert about is not None, "only workers iterate"
        try:
            yield from self.make(about.id, about.num_workers)
        except UserError as error:  # as a value: torch would bury it in a traceback
            yield error


def in_processes(make: Make[T], workers: int) -> Iterator[T]:
    """Give what workers make: one thing of each in turn, until none has any left. With 0 workers, all happens here.

    Raises:
        UserError: what a worker raised, or one was killed.

    """
    if workers == 0:
        yield from make(0, 1)
        return
    loader = DataLoader(_Work(make), batch_size=None, num_workers=workers, collate_fn=_as_it_is)
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


def _as_it_is(item: Any) -> Any:
    return item
