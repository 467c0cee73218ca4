"""Where the samples of a shard lie, and how many texts each has: small, so that many shards can be remembered.

Shapes: n samples of a stretch of a shard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.records import in_subset
from mtlab.data.shards.selection import Stretch


@dataclass(frozen=True)
class SampleTable:
    """The samples of a stretch."""

    keys: tuple[str, ...]
    starts: NDArray[np.int64]  #: first byte of each sample in the shard, [n]
    ends: NDArray[np.int64]  #: one past its last, [n]
    texts: NDArray[np.int64]  #: of the subset, [n]


def read_sample_table(shards: ShardFolder, stretch: Stretch, subset: str) -> SampleTable:
    """Read the lines of a shard and keep what is needed to plan with.

    Raises:
        UserError: the file of lines is missing or damaged.

    """
    rows = shards.rows(stretch.shard)[stretch.first : stretch.last]
    return SampleTable(
        tuple(row.key for row in rows),
        np.array([row.offset for row in rows], np.int64),
        np.array([row.end for row in rows], np.int64),
        np.array([sum(in_subset(text, subset) for text in row.texts) for row in rows], np.int64),
    )


def per_turn(shards: ShardFolder, stretch: Stretch, subset: str, turns: int) -> list[int]:
    """Count the texts that a stretch has in each turn, if text j of a sample comes in turn j modulo `turns`.

    Of a whole shard the index tells it; of a part of one the lines are read.
    """
    if stretch.whole:
        counts = stretch.shard.per_text.get(subset, ())
        return [sum(counts[turn::turns]) for turn in range(turns)]
    texts = read_sample_table(shards, stretch, subset).texts
    return [int(in_turn(texts, turn, turns).sum()) for turn in range(turns)]


def in_turn(texts: NDArray[np.int64], turn: int, turns: int) -> NDArray[np.int64]:
    """Count the texts of each sample that come in a turn, [n]."""
    counts: NDArray[np.int64] = np.maximum(texts - turn + turns - 1, 0) // turns
    return counts
