"""The order of the texts of an epoch: well mixed, although each shard is read from front to back.

The shards are put in random order on a line, each of them up to five times, so that the first five texts of an image
come at different times. The line is cut into lanes of equal length. The epoch takes one text from each lane in turn,
and neighbours within a lane are shuffled. Everything follows from seed and epoch by arithmetic, so that any position
can be looked up, and the order does not depend on the number of processes.

Shapes: P passes over shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.selection import ShardSlice, parse_selection
from mtlab.data.shards.streaming.sample_table import texts_per_turn
from mtlab.seeding import derive

LANES = 64  #: each process should have at least one
WINDOW = 32  #: neighbours in a lane that are shuffled
TURNS = 5  #: passes over a shard in an epoch; of an image with more texts, several come in one pass


@dataclass(frozen=True, eq=False)
class ShardPass:
    """One pass over a slice of a shard, from front to back."""

    shards: ShardFolder
    subset: str
    shard_slice: ShardSlice
    turn: int  #: text j of a sample comes in turn j modulo `TURNS`
    texts: int
    source: int  #: number of its source in a stream


def shard_passes(shards: ShardFolder, selection: str, source: int) -> list[ShardPass]:
    """List the passes over the shards of a selection.

    Raises:
        UserError: there is no such part or subset.

    """
    subset = parse_selection(selection).subset
    return [
        ShardPass(shards, subset, shard_slice, turn, texts, source)
        for shard_slice in shards.slices(selection)
        for turn, texts in enumerate(texts_per_turn(shards, shard_slice, subset, TURNS))
        if texts
    ]


class Epoch:
    """The order of all texts of some passes.

    Args:
        passes: [P], with at least one text.
        seed: the run's.
        epoch: from 0.

    """

    def __init__(self, passes: Sequence[ShardPass], seed: int, epoch: int) -> None:
        self.seed = derive(seed, "stream", epoch)
        self._passes = [passes[at] for at in shuffle(self.seed, "units", len(passes))]
        self._ends: NDArray[np.int64] = np.cumsum([each.texts for each in self._passes])  # [P]
        self.texts = int(self._ends[-1])
        self.lanes = min(LANES, self.texts)
        self._offset = derive(self.seed, "line") % self.texts
        lanes = shuffle(self.seed, "lanes", self.lanes)
        lengths = [self.length(int(lane)) for lane in lanes]
        self._starts = dict(zip(lanes.tolist(), np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))

    def length(self, lane: int) -> int:
        """Count the texts of a lane: text number g of the epoch is in lane g modulo the number of lanes."""
        return -(-(self.texts - lane) // self.lanes)

    def window(self, lane: int, number: int) -> list[tuple[ShardPass, int]]:
        """Return the texts in a window of a lane, in the order of the epoch: their pass, and their position in it.

        Args:
            lane: from 0.
            number: of the window, from 0.

        """
        first = number * WINDOW
        size = min(WINDOW, self.length(lane) - first)
        start = self._offset + self._starts[lane] + first
        positions = (start + shuffle(self.seed, f"lane {lane}", size, number)) % self.texts
        indices = np.searchsorted(self._ends, positions, side="right")
        return [
            (self._passes[index], int(position - self._ends[index] + self._passes[index].texts))
            for index, position in zip(indices.tolist(), positions.tolist(), strict=True)
        ]


def shuffle(seed: int, purpose: str, size: int, number: int = 0) -> NDArray[np.int64]:
    """Return a permutation of 0 … size − 1, from raw random bits, which NumPy keeps from version to version."""
    keys = np.random.PCG64(derive(seed, purpose, number)).random_raw(size)
    order: NDArray[np.int64] = np.argsort(keys, kind="stable")
    return order
