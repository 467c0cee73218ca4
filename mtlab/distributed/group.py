"""The processes that train one model, as the rest of the code sees them: what is shared, exchanged and agreed on.

A `ProcessGroup` is one process alone, for which all of that is trivial; `mtlab.distributed.process_group` makes it of several.
Shapes: R processes, b examples of each, B = R · b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from torch import Tensor

from mtlab.distributed.ranks import Ranks

T = TypeVar("T")


class ProcessGroup:
    """One process alone. All processes of a group must call the same methods in the same order."""

    ranks = Ranks()
    local_rank = 0  #: number of the process on its host
    local_ranks = 1  #: processes on this host

    @property
    def world_size(self) -> int:
        """Count the processes, R."""
        return self.ranks.ranks

    @property
    def is_main(self) -> bool:
        """Is this the one that writes?"""
        return self.ranks.rank == 0

    def share(self, items: Sequence[T], between: Callable[[], None]) -> Iterator[T]:
        """Give this process its part of some items: every R-th.

        Args:
            items: the same in all processes.
            between: called before each round, by all processes equally often.

        """
        rank, size = self.ranks.rank, self.ranks.ranks
        for at in range(0, len(items), size):
            between()
            if at + rank < len(items):
                yield items[at + rank]

    def all_gather_objects(self, mine: Sequence[T]) -> list[T]:
        """Put what all processes made of shared items together, in the order of the items; tensors on the CPU."""
        return list(mine)

    def broadcast_object(self, thing: T) -> T:
        """Give the leader's thing, to all."""
        return thing

    def all_reduce_max(self, number: int) -> int:
        """Find the largest of all processes' numbers."""
        return number

    def all_reduce_any(self, flags: Sequence[bool]) -> list[bool]:
        """Tell for each flag whether some process has it set."""
        return list(flags)

    def all_gather(self, own: Tensor) -> Tensor:
        """Put the rows of all processes together in the order of the step: [b, …] → [B, …], with gradient."""
        return own

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the leader's."""

    def barrier(self) -> None:
        """Wait until all processes are here."""

    def is_first_to_fail(self) -> bool:
        """Is this process the first to tell what went wrong?"""
        return True


SINGLE_PROCESS = ProcessGroup()
