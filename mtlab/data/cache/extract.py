"""Features of a frozen tower: one thread, one library and fixed batches, so that they are bit-identical each time.

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
from mtlab.matmul import default_matmul
from mtlab.towers.base import Features, Tower
from mtlab.towers.build import TowerKind, build_tower

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Chunk:
    """The features of some items, concatenated without padding."""

    values: Tensor  #: [T, W], all offered levels of a token side by side
    lengths: Tensor  #: tokens of each item, [items], int64
    masked: bool  #: True if the tower gives a mask


@dataclass
class FeatureExtractor:
    """Computes features; tower and data are loaded when they are first needed.

    Args:
        kind: "text" or "vision".
        node: configuration of the tower.
        dataset_node: configuration of the data set.
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
        """Every text, or every image's key, once and sorted: the same in every process."""
        examples = (example for split in SPLITS for example in self.dataset.examples(split))
        if self.kind == "text":
            return tuple(sorted({example.text for example in examples}))
        return tuple(sorted({key for example in examples for key in example.images}))

    def compute(self, keys: Sequence[str]) -> Chunk:
        """Run the tower on some items.

        Raises:
            UserError: a feature is infinite or NaN, or too large for the type in which it is stored.

        """
        parts = []
        for at in range(0, len(keys), BATCH):
            batch = keys[at : at + BATCH]
            raw = batch if self.kind == "text" else [self.dataset.image(key) for key in batch]
            parts.append(_pack(extract_features(self.tower, raw, device=self.device), DTYPES[self.dtype]))
        chunk = Chunk(
            torch.cat([part.values for part in parts]),
            torch.cat([part.lengths for part in parts]),
            parts[0].masked,
        )
        if not chunk.values.isfinite().all():
            if self.dtype == "float32" or chunk.values.isnan().any():
                raise UserError("the tower gives infinite values or NaN: are its weights damaged?", key=self.kind)
            raise UserError(
                f"features of the {self.kind} tower are too large for {self.dtype}: use float32", key="cache.dtype"
            )
        return chunk


def extract_features(tower: Tower[Any], raw: Sequence[Any], *, device: str = "cpu") -> Features:
    """Run a tower on raw texts or images, without gradients and on one thread.

    Returns:
        the offered levels, each [B, L, D_n] on the CPU, padded to the longest item.

    """
    with torch.no_grad(), one_thread(), default_matmul():
        features = tower(*(tensor.to(device) for tensor in tower.prepare(raw)))
        mask = None if features.mask is None else features.mask.cpu()
        return Features(tuple(level.cpu() for level in features.levels), mask)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: with more, sums are computed in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pack(features: Features, dtype: torch.dtype) -> Chunk:
    values = torch.cat(features.levels, dim=-1).to(dtype)
    items, tokens, _ = values.shape
    if features.mask is None:
        return Chunk(values.flatten(0, 1), torch.full((items,), tokens), masked=False)
    return Chunk(values[features.mask], features.mask.sum(1), masked=True)
