"""One entry of the expert cache on disk: chunks while it is built, then one file of features and its index.

index.json                 what the entry was made from, and the layout of its features; written last
features.bin               the tokens of all items, all stored levels of a token side by side
chunks/00007.safetensors   while the entry is built
used                       its modification time is the time of last use

Shapes: T tokens of all items together, W the sum of the widths of the stored levels.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab import checksums, files
from mtlab.data.cache.extract import DTYPES, Chunk
from mtlab.data.cache.locks import QUARANTINE

LIBRARIES = ("torch", "timm", "transformers")  #: that features may depend on

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheIndex:
    """The index of a finished entry: features are [T, W], items in the order of `keys`, without padding."""

    made_from: dict[str, Any]
    keys: tuple[str, ...]
    lengths: tuple[int, ...]  #: tokens of each item
    widths: tuple[int, ...]  #: D_n of each stored level
    masked: bool  #: True if the tower gives a mask
    checksums: tuple[str, ...]  #: of each chunk's bytes
    versions: dict[str, str]  #: of the libraries that computed the features, for information

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

    def byte_range(self, number: int) -> slice:
        """Return a chunk's byte range in the file of features."""
        first, last = number * self.chunk, min((number + 1) * self.chunk, len(self.keys))
        return slice(int(self.starts[first]) * self.token_bytes, int(self.starts[last]) * self.token_bytes)

    def chunk_keys(self, number: int) -> tuple[str, ...]:
        """Return the items of a chunk."""
        return self.keys[number * self.chunk : (number + 1) * self.chunk]


def encode_index(index: CacheIndex) -> bytes:
    """Serialise an index as JSON with a checksum of itself."""
    data = msgspec.json.encode(index)
    return msgspec.json.encode({"checksum": checksums.of_bytes(data), "index": msgspec.Raw(data)})


def decode_index(data: bytes) -> CacheIndex:
    """Parse an index.

    Raises:
        ValueError: it is damaged.

    """
    try:
        stored = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        checksum = msgspec.json.decode(stored["checksum"])
        if checksum != checksums.of_bytes(stored["index"]):
            raise ValueError("the index does not match its checksum")
        return msgspec.json.decode(stored["index"], type=CacheIndex)
    except (msgspec.MsgspecError, KeyError) as error:
        raise ValueError(str(error)) from None


class _MissingChunkError(Exception):
    """A chunk is missing."""


@dataclass(frozen=True)
class EntryFolder:
    """The folder of an entry; every file is written atomically."""

    path: Path

    @property
    def features(self) -> Path:
        """The file of features of a finished entry."""
        return self.path / "features.bin"

    @property
    def chunks(self) -> Path:
        """The folder of chunks of an unfinished entry."""
        return self.path / "chunks"

    @property
    def finished(self) -> bool:
        """True if the entry has an index."""
        return (self.path / "index.json").exists()

    def touch(self) -> None:
        """Set the time of last use."""
        with files.explain_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "used").touch()

    def index(self) -> CacheIndex | None:
        """Read the index; None if it is missing, damaged, or contradicts the file of features."""
        try:
            index = decode_index((self.path / "index.json").read_bytes())
            return index if self.features.stat().st_size == index.bytes else None
        except (OSError, ValueError):
            return None

    def chunk_path(self, number: int) -> Path:
        """Return the path of a chunk while the entry is built."""
        return self.chunks / f"{number:05d}.safetensors"

    def write_chunk(self, number: int, chunk: Chunk) -> None:
        """Write a chunk."""
        from safetensors.torch import save_file

        tensors = {"values": chunk.values.contiguous(), "lengths": chunk.lengths}
        with files.atomic_write(self.chunk_path(number)) as scratch:
            save_file(tensors, scratch, checksums.safetensors_metadata({"masked": chunk.masked}))
            checksums.embed(scratch)

    def read_chunk(self, number: int) -> Chunk | None:
        """Read a chunk; None if it is missing. A damaged one is moved to quarantine and counts as missing."""
        from safetensors import SafetensorError, safe_open

        path = self.chunk_path(number)
        try:
            if checksums.verify(path):
                with safe_open(path, "pt") as stored:
                    masked = json.loads(stored.metadata()[checksums.METADATA_KEY])["masked"]
                    return Chunk(stored.get_tensor("values"), stored.get_tensor("lengths"), masked)
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, TypeError, ValueError):
            pass  # damaged, like one whose checksum differs
        self._quarantine(path)
        return None

    def finish(self, made_from: Mapping[str, Any], keys: Sequence[str], widths: Sequence[int], chunks: int) -> None:
        """Concatenate the chunks and write the index; nothing happens if a chunk is missing."""
        lengths: list[int] = []
        sums: list[str] = []
        masked = False
        try:
            with files.atomic_write(self.features) as scratch, scratch.open("wb") as stream:
                for number in range(chunks):
                    chunk = self.read_chunk(number)
                    if chunk is None:
                        raise _MissingChunkError
                    data = _tensor_bytes(chunk.values)
                    stream.write(data)
                    lengths += chunk.lengths.tolist()
                    sums.append(checksums.of_bytes(data))
                    masked = chunk.masked
        except _MissingChunkError:
            return
        versions = {name: metadata.version(name) for name in LIBRARIES}  # without importing them
        self._write_index(
            CacheIndex(dict(made_from), tuple(keys), tuple(lengths), tuple(widths), masked, tuple(sums), versions)
        )
        shutil.rmtree(self.chunks, ignore_errors=True)  # another worker may be removing it, too

    def map(self, index: CacheIndex) -> NDArray[np.uint8]:
        """Map the file of features into memory, as bytes; writes to the mapping do not reach the file."""
        if index.bytes == 0:
            return np.zeros(0, np.uint8)
        return np.memmap(self.features, np.uint8, mode="c")

    def damaged_chunks(self, index: CacheIndex) -> list[int]:
        """Compare every chunk with its checksum; return those that differ."""
        data = self.map(index).data
        return [
            number
            for number, checksum in enumerate(index.checksums)
            if checksums.of_bytes(data[index.byte_range(number)]) != checksum
        ]

    def repair(self, index: CacheIndex, number: int, chunk: Chunk) -> CacheIndex:
        """Copy a damaged chunk's bytes to quarantine and write a recomputed chunk over them; return the new index."""
        span, data = index.byte_range(number), _tensor_bytes(chunk.values)
        if len(data) != span.stop - span.start:
            raise RuntimeError(f"chunk {number} of {self.path} has another size than when it was first computed")
        kept = self._quarantine_path(f"{number:05d}")
        files.write_bytes(kept, self.map(index)[span].tobytes())
        with files.explain_disk_errors(self.features), self.features.open("r+b") as stream:
            stream.seek(span.start)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        logger.warning("expert cache: chunk %d of %s was damaged: recomputed (kept as %s)", number, self.path, kept)
        sums = (*index.checksums[:number], checksums.of_bytes(data), *index.checksums[number + 1 :])
        repaired = dataclasses.replace(index, checksums=sums)
        if repaired != index:  # another processor or version of torch: the last bits differ
            self._write_index(repaired)
        return repaired

    def discard(self) -> None:
        """Move a damaged entry to quarantine, so that it is rebuilt."""
        for path in (self.path / "index.json", self.features):
            self._quarantine(path)

    def _write_index(self, index: CacheIndex) -> None:
        files.write_bytes(self.path / "index.json", encode_index(index))

    def _quarantine(self, path: Path) -> None:
        target = self._quarantine_path(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(target)
        except FileNotFoundError:
            return  # there is none, or another worker was first
        logger.warning("expert cache: %s was damaged: computed anew (kept as %s)", path, target)

    def _quarantine_path(self, name: str) -> Path:
        return self.path.parent / QUARANTINE / f"{self.path.name}-{secrets.token_hex(4)}-{name}"


def _tensor_bytes(values: Tensor) -> memoryview:
    return values.contiguous().view(-1).view(torch.uint8).numpy().data
