"""Which part of a step is whose, where several processes train one model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """One of the processes that train a model together; by default it is alone."""

    rank: int = 0  #: its number, from 0
    ranks: int = 1  #: how many there are

    @property
    def own(self) -> slice:
        """Its places in a step, or in whatever is shared: every so many-th, from its own number on."""
        return slice(self.rank, None, self.ranks)

    def parts(self, batch: int, micro: int) -> list[slice]:
        """Split its share of a step into micro-batches: their places in the step.

        >>> Ranks(1, 2).parts(8, 2)
        [slice(1, 5, 2), slice(5, 9, 2)]

        Args:
            batch: examples of the step over all processes, a multiple of their number.
            micro: examples in one forward pass of one process.

        """
        share = batch // self.ranks
        return [
            slice(self.rank + at * self.ranks, self.rank + min(at + micro, share) * self.ranks, self.ranks)
            for at in range(0, share, micro)
        ]


ALL = Ranks()  #: one process does it all


def uneven(processes: int, batch: int, contrasted: int | None) -> str | None:
    """Say why so many processes cannot share a batch evenly; None: they can.

    Args:
        processes: how many.
        batch: examples of a step.
        contrasted: how many of them are contrasted with each other; None: there is no contrast.

    """
    if batch % processes:
        below, above = batch // processes * processes, -(-batch // processes) * processes
        near = f"{below} or {above}" if below else f"{above}"
        return f"{processes} processes cannot share {batch} evenly; they can share {near}"
    if contrasted is not None and contrasted % processes:
        return f"{processes} processes cannot share the {contrasted} pairs evenly that are contrasted with each other"
    return None
