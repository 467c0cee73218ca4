"""The expert cache: features of frozen towers for each text and image, computed once and shared by all runs.

The name of an entry is a hash of all settings, weights and data that decide what is in it. An upgrade of torch, timm or
transformers, or another device, does not change it. Each text and image is stored once, without padding. The file is
mapped into memory, and a batch is gathered in one step, or in one step for each level where the entry holds more than
are offered.

Shapes: B examples, L tokens, D_n width of level n, T tokens of all items, W the sum of the D_n of all stored levels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.config.schema import CacheConfig
from mtlab.data.cache.build import Progress, build_entry, repair_entry
from mtlab.data.cache.entry import CacheIndex, EntryFolder
from mtlab.data.cache.extract import FeatureExtractor
from mtlab.data.cache.key import cache_key
from mtlab.data.cache.locks import LOCKS, SharedLock
from mtlab.data.cache.size_limit import evict, limit_bytes
from mtlab.towers.base import Features
from mtlab.towers.build import TowerKind, tower_shape

FOLDER = "experts"  #: below the cache's root


class CachedExperts:
    """A finished entry, opened for reading. It is not evicted while it is open.

    Args:
        entry: its folder.
        index: its index.
        lock: prevents its eviction.
        levels: which of the stored levels are offered, 1 = lowest of the tower.

    """

    def __init__(self, entry: EntryFolder, index: CacheIndex, lock: SharedLock, levels: Collection[int]) -> None:
        self.path = entry.path
        self.made_from = index.made_from
        self._columns = _columns(index, levels)
        self._lock = lock
        self._masked = index.masked
        self._rows = {key: row for row, key in enumerate(index.keys)}
        self._starts = torch.from_numpy(index.starts[:-1])
        self._lengths = torch.tensor(index.lengths, dtype=torch.int64)
        self._tokens = torch.from_numpy(entry.map(index)).view(index.dtype).view(-1, sum(index.widths))  # [T, W]

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def fetch(self, keys: Sequence[str]) -> Features:
        """Gather the levels of these texts, or of the images with these keys.

        Returns:
            the offered levels, each [B, L, D_n] in float32, zero at padding, with L the longest of the batch. The mask
            is None if the tower gives none.

        Raises:
            KeyError: a text or image is not in the entry.

        """
        rows = torch.tensor([self._rows[key] for key in keys])
        lengths = self._lengths[rows].unsqueeze(1)
        positions = torch.arange(int(lengths.max()))
        real = positions < lengths  # [B, L]
        tokens = (self._starts[rows].unsqueeze(1) + positions)[real]
        levels: list[Tensor] = []
        for columns, widths in self._columns:
            values = self._tokens[:, columns].index_select(0, tokens).float()  # reads no padding
            if self._masked:
                padded = torch.zeros(*real.shape, sum(widths))
                padded[real] = values
            else:  # as many tokens in every item
                padded = values.view(len(rows), -1, sum(widths))
            levels += torch.split(padded, widths, -1)
        return Features(tuple(levels), real if self._masked else None)

    def close(self) -> None:
        """Allow the entry to be evicted. Fetched features stay valid."""
        self._lock.release()


def open_expert_cache(
    kind: TowerKind,
    node: Mapping[str, Any],
    dataset_node: Mapping[str, Any],
    cache: CacheConfig,
    *,
    root: Path,
    progress: Progress | None = None,
    device: str = "cpu",
) -> CachedExperts:
    """Open the entry of a tower's features on a data set, and compute what is missing, shared with other processes.

    A finished entry is opened without importing timm or transformers. Checksums reveal damage, which is repaired.

    Args:
        kind: "text" or "vision".
        node: configuration of the tower, which is frozen.
        dataset_node: configuration of the data set; all texts or images of all its splits are cached.
        cache: the type of the stored numbers, and whether all levels of the tower are stored or those offered.
        root: the cache's root, `files.cache_root()`.
        progress: called with items done and items in all while the entry is filled.
        device: where the tower runs.

    Raises:
        UserError: an option is wrong, weights or data are unavailable, or the disk is full.
        ValueError: the tower is trained, so that its features change in every step.

    """
    if node.get("trainable"):
        raise ValueError(f"the {kind} tower is trained: its features cannot be cached")
    limit = limit_bytes()
    alone = cache.levels == "offered" or node.get("norm") == "own"  # a pyramid's last norm fits its top level alone
    stored = node if alone else {**node, "layers": "all", "gate": False}
    key = cache_key(kind, stored, dataset_node, cache)
    entry = EntryFolder(root / FOLDER / key.name)
    extractor = FeatureExtractor(kind, stored, dataset_node, cache.dtype, device)
    lock = SharedLock(root / FOLDER / LOCKS / key.name)
    try:
        index = _complete(entry, dict(key.made_from), extractor, progress)
        opened = CachedExperts(entry, index, lock, tower_shape(kind, node).levels)
    except BaseException:
        lock.release()
        raise
    evict(root / FOLDER, limit)
    return opened


def _columns(index: CacheIndex, levels: Collection[int]) -> list[tuple[slice, list[int]]]:
    """Return the columns of these levels in [T, W], neighbours together, and the width of each level in them."""
    found: list[tuple[slice, list[int]]] = []
    start = 0
    for level, width in zip(index.made_from["tower"]["levels"], index.widths, strict=True):
        if level in levels:
            if found and found[-1][0].stop == start:
                before, widths = found.pop()
                found.append((slice(before.start, start + width), [*widths, width]))
            else:
                found.append((slice(start, start + width), [width]))
        start += width
    return found


def _complete(
    entry: EntryFolder, made_from: dict[str, Any], extractor: FeatureExtractor, progress: Progress | None
) -> CacheIndex:
    while True:
        entry.touch()
        build_entry(entry, made_from, extractor, progress)
        index = entry.index()
        if index is not None:
            return repair_entry(entry, index, extractor)
        entry.discard()
