"""Which part of a step each of several processes takes. No torch: plans need it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """One of the processes that train a model together; by default the only one."""

    rank: int = 0  #: its number, from 0
    world_size: int = 1  #: how many there are

    @property
    def own(self) -> slice:
        """Its rows of a step, or of anything shared: every `world_size`-th, from its own number on."""
        return slice(self.rank, None, self.world_size)

    def micro_batches(self, batch: int, micro: int) -> list[slice]:
        """Split its share of a step into micro-batches: their rows in the step.

        >>> Ranks(1, 2).micro_batches(8, 2)
        [slice(1, 5, 2), slice(5, 9, 2)]

        Args:
            batch: examples of the step over all processes, a multiple of their number.
            micro: examples in one forward pass of one process.

        """
        rank, size = self.rank, self.world_size
        share = batch // size
        return [
            slice(rank + start * size, rank + min(start + micro, share) * size, size)
            for start in range(0, share, micro)
        ]


SINGLE_RANK = Ranks()


def batch_sharing_problem(processes: int, batch: int, contrasted: int | None) -> str | None:
    """Say why a batch cannot be shared evenly; None if it can.

    Args:
        processes: how many share it.
        batch: examples of a step.
        contrasted: how many of them are contrasted with each other; None if there is no contrast.

    """
    if batch % processes:
        below, above = batch // processes * processes, -(-batch // processes) * processes
        near = f"{below} or {above}" if below else f"{above}"
        return f"{processes} processes cannot share {batch} evenly; they can share {near}"
    if contrasted is not None and contrasted % processes:
        return f"{processes} processes cannot share the {contrasted} pairs evenly that are contrasted with each other"
    return None
