"""Running a frozen tower on texts or images: one thread and fixed batches, so that the same bits come out again.

Shapes: B items, L tokens, D_n width of offered level n, W the sum of all D_n, T tokens of several items together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, SPLITS, Dataset
from mtlab.data.cache.key import BATCH
from mtlab.errors import UserError
from mtlab.towers.base import Features, Tower
from mtlab.towers.build import TowerKind, build_tower

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Chunk:
    """The levels of some items, one after the other, without padding."""

    values: Tensor  #: [T, W], all offered levels of a token side by side
    lengths: Tensor  #: tokens of each item, [items], int64
    masked: bool  #: does the tower mask tokens at all?


@dataclass
class FeatureExtractor:
    """What it takes to compute features; tower and data are loaded only if something is missing.

    Args:
        kind: "text" or "vision".
        node: the tower.
        dataset_node: the data set.
        dtype: type in which features are stored.
        device: where the tower runs.

    """

    kind: TowerKind
    node: Mapping[str, Any]
    dataset_node: Mapping[str, Any]
    dtype: str
    device: str = "cpu"

    @cached_property
    def dataset(self) -> Dataset:
        """The data set."""
        entry, options = lookup_options(DATASETS, self.dataset_node, "data")
        return entry.cls(options)

    @cached_property
    def tower(self) -> Tower[Any]:
        """The tower, with its weights."""
        return build_tower(self.kind, self.node).to(self.device)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Every text, or every image's key, once and sorted: the same for whoever asks."""
        examples = (example for split in SPLITS for example in self.dataset.examples(split))
        if self.kind == "text":
            return tuple(sorted({example.text for example in examples}))
        return tuple(sorted({key for example in examples for key in example.images}))

    def compute(self, keys: Sequence[str]) -> Chunk:
        """Run the tower on these items.

        Raises:
            UserError: a feature is too large for the type that it is to be stored in.

        """
        parts = []
        for at in range(0, len(keys), BATCH):
            batch = keys[at : at + BATCH]
            raw = batch if self.kind == "text" else [self.dataset.image(key) for key in batch]
            parts.append(_packed(extract_features(self.tower, raw, device=self.device), DTYPES[self.dtype]))
        chunk = Chunk(
            torch.cat([part.values for part in parts]),
            torch.cat([part.lengths for part in parts]),
            parts[0].masked,
        )
        if not chunk.values.isfinite().all():
            raise UserError(
                f"features of the {self.kind} tower are too large for {self.dtype}: use float32", key="cache.dtype"
            )
        return chunk


def extract_features(tower: Tower[Any], raw: Sequence[Any], *, device: str = "cpu") -> Features:
    """Run a tower on raw texts or images, without gradients and on one thread.

    Returns:
        the offered levels, each [B, L, D_n] on the CPU, padded to the longest item.

    """
    with torch.no_grad(), one_thread():
        found = tower(*(tensor.to(device) for tensor in tower.prepare(raw)))
        mask = None if found.mask is None else found.mask.cpu()
        return Features(tuple(level.cpu() for level in found.levels), mask)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside: with more, sums are taken in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _packed(found: Features, dtype: torch.dtype) -> Chunk:
    values = torch.cat(found.levels, dim=-1).to(dtype)
    items, tokens, _ = values.shape
    if found.mask is None:
        return Chunk(values.flatten(0, 1), torch.full((items,), tokens), masked=False)
    return Chunk(values[found.mask], found.mask.sum(1), masked=True)
