"""The order of one epoch: every text once, well mixed, and yet shards are read from front to back.

All texts lie on a line: the shards in random order, a shard once for each of an image's first five texts, so that
those come at different times. The line is cut into lanes of equal length, and the epoch takes one text from each lane
in turn; within a lane, neighbours are shuffled. All of it follows from seed and epoch by arithmetic alone: any place
can be looked up, and it makes no difference how many processes read.

Shapes: n texts, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.selection import Stretch, parse
from mtlab.data.shards.streaming.sample_table import per_turn
from mtlab.seeding import derive

LANES = 64  #: each process should have at least one
WINDOW = 32  #: neighbours in a lane that are shuffled
TURNS = 5  #: an image is read so often in an epoch; if it has more texts, several go with one reading


@dataclass(frozen=True, eq=False)
class ShardPass:
    """One turn of one stretch: read from front to back."""

    shards: ShardFolder
    subset: str
    stretch: Stretch
    turn: int
    turns: int  #: text j of a sample comes in turn j modulo this
    texts: int
    source: int = 0  #: which part of a stream it is from


def shard_passes(shards: ShardFolder, selection: str, turns: int = TURNS, source: int = 0) -> list[ShardPass]:
    """List the units of a selection.

    Raises:
        UserError: there is no such part or subset.

    """
    subset = parse(selection).subset
    return [
        ShardPass(shards, subset, stretch, turn, turns, texts, source)
        for stretch in shards.stretches(selection)
        for turn, texts in enumerate(per_turn(shards, stretch, subset, turns))
        if texts
    ]


class Epoch:
    """The order of all texts of some units.

    Args:
        parts: the units, [U]; at least one text.
        seed: the run's.
        epoch: from 0.

    """

    def __init__(self, parts: Sequence[ShardPass], seed: int, epoch: int) -> None:
        self.seed = derive(seed, "stream", epoch)
        self._units = [parts[at] for at in shuffled(self.seed, "units", len(parts))]
        self._ends: NDArray[np.int64] = np.cumsum([unit.texts for unit in self._units])  # [U]
        self.texts = int(self._ends[-1])
        self.lanes = min(LANES, self.texts)
        self._turned = derive(self.seed, "line") % self.texts
        lanes = shuffled(self.seed, "lanes", self.lanes)
        lengths = [self.length(int(lane)) for lane in lanes]
        self._starts = dict(zip(lanes.tolist(), np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))

    def length(self, lane: int) -> int:
        """Count the texts of a lane: text number g of the epoch is in lane g modulo the number of lanes."""
        return -(-(self.texts - lane) // self.lanes)

    def window(self, lane: int, number: int) -> list[tuple[ShardPass, int]]:
        """Say which texts a window of a lane holds, in the order of the epoch: units, and places in them.

        Args:
            lane: from 0.
            number: of the window, from 0.

        """
        first = number * WINDOW
        size = min(WINDOW, self.length(lane) - first)
        start = self._turned + self._starts[lane] + first
        places = (start + shuffled(self.seed, f"lane {lane}", size, number)) % self.texts
        at = np.searchsorted(self._ends, places, side="right")
        return [
            (self._units[unit], int(place - self._ends[unit] + self._units[unit].texts))
            for unit, place in zip(at.tolist(), places.tolist(), strict=True)
        ]


def shuffled(seed: int, purpose: str, size: int, number: int = 0) -> NDArray[np.int64]:
    """Shuffle 0 … size − 1 by raw random bits, which NumPy keeps from version to version."""
    keys = np.random.PCG64(derive(seed, purpose, number)).random_raw(size)
    order: NDArray[np.int64] = np.argsort(keys, kind="stable")
    return order
