"""The index of a finished entry of the expert cache: which bytes of its file of features belong to what.

Shapes: T tokens of all items together, W the sum of the widths of the offered levels.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.data.cache.extract import DTYPES

LIBRARIES = ("torch", "timm", "transformers")  #: that features may depend on


@dataclass(frozen=True)
class CacheIndex:
    """What a finished entry holds: features are [T, W], items in the order of `keys`, without padding."""

    made_from: dict[str, Any]
    keys: tuple[str, ...]
    lengths: tuple[int, ...]  #: tokens of each item
    widths: tuple[int, ...]  #: D_n of each offered level
    masked: bool  #: does the tower mask tokens at all?
    checksums: tuple[int, ...]  #: CRC-32 of each chunk's bytes
    versions: dict[str, str]  #: of the libraries that it was computed with: to know, not to compare

    @property
    def dtype(self) -> torch.dtype:
        """The type of the stored numbers."""
        return DTYPES[self.made_from["dtype"]]

    @property
    def chunk(self) -> int:
        """Items in a chunk."""
        return int(self.made_from["chunk"])

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First token of each item, and the end of the last, [items + 1]."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).astype(np.int64)

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's levels."""
        return sum(self.widths) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Size of the file of features."""
        return int(self.starts[-1]) * self.token_bytes

    def span(self, number: int) -> slice:
        """Return where a chunk's bytes lie in the file of features."""
        first, last = number * self.chunk, min((number + 1) * self.chunk, len(self.keys))
        return slice(int(self.starts[first]) * self.token_bytes, int(self.starts[last]) * self.token_bytes)

    def keys_of(self, number: int) -> tuple[str, ...]:
        """Return the items of a chunk."""
        return self.keys[number * self.chunk : (number + 1) * self.chunk]


def to_text(index: CacheIndex) -> str:
    """Write an index as JSON with a checksum over itself."""
    fields = {field.name: getattr(index, field.name) for field in dataclasses.fields(index)}
    data = json.loads(json.dumps(fields))
    return json.dumps({**data, "checksum": _checksum_of(data)})


def from_data(data: Mapping[str, Any]) -> CacheIndex:
    """Read what `to_text` wrote.

    Raises:
        ValueError: it was changed since.

    """
    fields = {name: value for name, value in data.items() if name != "checksum"}
    if data.get("checksum") != _checksum_of(fields):
        raise ValueError("the index does not match its checksum")
    built: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return CacheIndex(**built)


def checksum(values: Tensor) -> int:
    """CRC-32 of a tensor's bytes."""
    return zlib.crc32(as_bytes(values))


def as_bytes(values: Tensor) -> memoryview:
    """View a tensor as its bytes."""
    return values.contiguous().view(-1).view(torch.uint8).numpy().data


def library_versions() -> dict[str, str]:
    """Tell the versions of the libraries that features may depend on, without importing them."""
    return {name: metadata.version(name) for name in LIBRARIES}


def _checksum_of(data: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())
