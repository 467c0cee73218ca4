"""The processes that train one model, as the rest of the code sees them: this one alone, or several under torchrun.

Shapes: R processes, b examples of each, B = R · b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from torch import Tensor

from mtlab.distributed.ranks import Ranks

T = TypeVar("T")


class ProcessGroup:
    """A single process, for which every collective is trivial; `TorchProcessGroup` is the one of several processes.

    All processes of a group must call the same methods in the same order.
    """

    ranks = Ranks()
    local_rank = 0  #: number of the process on its host
    local_world_size = 1  #: processes on this host

    @property
    def world_size(self) -> int:
        """The number of processes, R."""
        return self.ranks.world_size

    @property
    def is_main(self) -> bool:
        """Is this the process that writes files and prints?"""
        return self.ranks.rank == 0

    def shard(self, items: Sequence[T], between: Callable[[], None]) -> Iterator[T]:
        """Give this process every R-th of some items.

        Args:
            items: the same in all processes.
            between: called before each round, by all processes equally often.

        """
        for start in range(0, len(items), self.world_size):
            between()
            if start + self.ranks.rank < len(items):
                yield items[start + self.ranks.rank]

    def all_gather_objects(self, items: Sequence[T]) -> list[T]:
        """Gather one result per sharded item from all processes, in the order of the items; tensors on the CPU."""
        return list(items)

    def broadcast_object(self, item: T) -> T:
        """Return the main process's object in every process."""
        return item

    def all_reduce_max(self, number: int) -> int:
        """Return the largest number of all processes."""
        return number

    def all_reduce_any(self, flags: Sequence[bool]) -> list[bool]:
        """Return for each flag whether any process has set it."""
        return list(flags)

    def all_gather(self, rows: Tensor) -> Tensor:
        """Gather the rows of all processes in the order of the step, with gradient: [b, …] → [B, …]."""
        return rows

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the main process's."""

    def barrier(self) -> None:
        """Wait until all processes are here."""

    def is_first_to_fail(self) -> bool:
        """Is this the first process to report an error?"""
        return True


SINGLE_PROCESS = ProcessGroup()
