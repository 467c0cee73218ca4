"""Byte ranges and number of texts of each sample in a slice of a shard: small enough to be cached for many shards.

Shapes: n samples of a slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.samples import in_subset
from mtlab.data.shards.selection import ShardSlice


@dataclass(frozen=True)
class SampleTable:
    """The samples of a slice."""

    keys: tuple[str, ...]
    starts: NDArray[np.int64]  #: first byte of each sample in the shard, [n]
    ends: NDArray[np.int64]  #: one past its last, [n]
    texts: NDArray[np.int64]  #: number of texts in the subset, [n]


def read_sample_table(shards: ShardFolder, shard_slice: ShardSlice, subset: str) -> SampleTable:
    """Read the rows of a shard and keep their byte ranges and numbers of texts.

    Raises:
        UserError: the file of rows is missing or damaged.

    """
    rows = shards.rows(shard_slice.shard)[shard_slice.first : shard_slice.last]
    return SampleTable(
        tuple(row.key for row in rows),
        np.array([row.offset for row in rows], np.int64),
        np.array([row.end for row in rows], np.int64),
        np.array([sum(in_subset(text, subset) for text in row.texts) for row in rows], np.int64),
    )


def texts_per_turn(shards: ShardFolder, shard_slice: ShardSlice, subset: str, turns: int) -> list[int]:
    """Count the texts of a slice in each turn, where text j of a sample comes in turn j modulo `turns`.

    The index has the counts of a whole shard; for a part of one the rows are read.
    """
    if shard_slice.whole:
        counts = shard_slice.shard.per_text.get(subset, ())
        return [sum(counts[turn::turns]) for turn in range(turns)]
    texts = read_sample_table(shards, shard_slice, subset).texts
    return [int(texts_in_turn(texts, turn, turns).sum()) for turn in range(turns)]


def texts_in_turn(texts: NDArray[np.int64], turn: int, turns: int) -> NDArray[np.int64]:
    """Count the texts of each sample that come in a turn, [n]."""
    counts: NDArray[np.int64] = np.maximum(texts - turn + turns - 1, 0) // turns
    return counts
