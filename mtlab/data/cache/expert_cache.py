"""The expert cache: what frozen towers give for each text and image, computed once and shared by all runs.

An entry is named by everything that can change a number in it, so that it is never out of date. Texts and images are
stored once each, without padding; reading maps the file into memory and gathers a batch in one step.

Shapes: B examples, L tokens, D_n width of offered level n, T tokens of all items, W the sum of all D_n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mtlab.config.schema import CacheConfig
from mtlab.data.cache.build import Progress, fill, mend
from mtlab.data.cache.entry import EntryFolder
from mtlab.data.cache.extract import FeatureExtractor
from mtlab.data.cache.index import CacheIndex
from mtlab.data.cache.key import cache_key
from mtlab.data.cache.locks import LOCKS, SharedLock
from mtlab.data.cache.size_limit import evict, limit_bytes
from mtlab.towers.base import Features
from mtlab.towers.build import TowerKind

FOLDER = "experts"  #: below the cache's root


class CachedExperts:
    """A finished entry, open for reading. While it is open, it is not evicted.

    Args:
        entry: its folder.
        index: its index.
        hold: keeps it from being evicted.

    """

    def __init__(self, entry: EntryFolder, index: CacheIndex, hold: SharedLock) -> None:
        self.path = entry.path
        self.made_from = index.made_from
        self.widths = index.widths
        self._hold = hold
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
            the offered levels, each [B, L, D_n] in float32, zero at padding; L is the longest of the batch. The mask is
            None if the tower has none.

        Raises:
            KeyError: a text or image that is not in the data set.

        """
        rows = torch.tensor([self._rows[key] for key in keys])
        lengths = self._lengths[rows].unsqueeze(1)
        places = torch.arange(int(lengths.max()))
        real = places < lengths  # [B, L]
        tokens = (self._starts[rows].unsqueeze(1) + places)[real]
        if not self._masked:  # as many tokens in every item
            found = self._tokens.index_select(0, tokens).float().view(len(rows), -1, sum(self.widths))
            return Features(torch.split(found, list(self.widths), -1))
        found = torch.zeros(*real.shape, sum(self.widths))
        found[real] = self._tokens.index_select(0, tokens).float()  # reads no padding
        return Features(torch.split(found, list(self.widths), -1), real)

    def close(self) -> None:
        """Allow the entry to be evicted. What was fetched stays valid."""
        self._hold.release()


def expert_cache(
    kind: TowerKind,
    node: Mapping[str, Any],
    dataset_node: Mapping[str, Any],
    cache: CacheConfig,
    *,
    root: Path,
    progress: Progress | None = None,
    device: str = "cpu",
) -> CachedExperts:
    """Open the entry for what a tower gives on a data set; compute what is missing of it, with others if they want it.

    A finished entry is opened without importing timm or transformers. Damage is found by checksum, told, and mended.

    Args:
        kind: "text" or "vision".
        node: the tower, frozen.
        dataset_node: the data set; all texts or images of all its splits are cached.
        cache: the type in which numbers are stored.
        root: the cache's root, `files.cache_root()`.
        progress: called with items done and items in all while the entry is filled.
        device: where the tower runs.

    Raises:
        UserError: a wrong option; weights or data that cannot be had; a full disk.
        ValueError: the tower is trained: its levels change in every step.

    """
    if node.get("trainable"):
        raise ValueError(f"the {kind} tower is trained: what it gives cannot be cached")
    limit = limit_bytes()
    key = cache_key(kind, node, dataset_node, cache)
    entry = EntryFolder(root / FOLDER / key.name)
    work = FeatureExtractor(kind, node, dataset_node, cache.dtype, device)
    hold = SharedLock(root / FOLDER / LOCKS / key.name)
    try:
        index = _completed(entry, dict(key.made_from), work, progress)
        opened = CachedExperts(entry, index, hold)
    except BaseException:
        hold.release()
        raise
    evict(root / FOLDER, limit)
    return opened


def _completed(
    entry: EntryFolder, made_from: dict[str, Any], work: FeatureExtractor, progress: Progress | None
) -> CacheIndex:
    while True:
        entry.touch()
        fill(entry, made_from, work, progress)
        index = entry.index()
        if index is not None:
            return mend(entry, index, work)
        entry.discard()
