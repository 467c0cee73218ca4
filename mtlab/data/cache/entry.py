"""One entry of the expert cache on disk: chunks while it is built, then one file of features and its index.

index.json                 what it was made from and what lies where; the last to be written
features.bin               the tokens of all items, all offered levels of a token side by side
chunks/00007.safetensors   while it is built
used                       its time of modification says when the entry was last opened
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlab import checksums, files
from mtlab.data.cache.extract import Chunk
from mtlab.data.cache.index import CacheIndex, as_bytes, checksum, from_data, library_versions, to_text
from mtlab.data.cache.locks import QUARANTINE
from mtlab.errors import UserError

logger = logging.getLogger(__name__)


class _MissingChunkError(Exception):
    """A chunk that should be there is not."""


@dataclass(frozen=True)
class EntryFolder:
    """An entry's folder and what may be done with it; every write is whole or not at all."""

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
        """Is the entry complete?"""
        return (self.path / "index.json").exists()

    def touch(self) -> None:
        """Note that the entry is used now."""
        with files.explain_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "used").touch()

    def index(self) -> CacheIndex | None:
        """Read the index; None if it is missing, damaged, or contradicts the file of features."""
        try:
            index = from_data(files.read_json(self.path / "index.json"))
            return index if self.features.stat().st_size == index.bytes else None
        except (OSError, UserError, ValueError, TypeError, AttributeError):
            return None

    def chunk_path(self, number: int) -> Path:
        """Return where a chunk lies while the entry is built."""
        return self.chunks / f"{number:05d}.safetensors"

    def write_chunk(self, number: int, chunk: Chunk) -> None:
        """Store a chunk."""
        from safetensors.torch import save_file

        held = {"values": chunk.values.contiguous(), "lengths": chunk.lengths}
        with files.atomic_write(self.chunk_path(number)) as scratch:
            save_file(held, scratch, checksums.safetensors_metadata({"masked": chunk.masked}))
            checksums.embed(scratch)

    def read_chunk(self, number: int) -> Chunk | None:
        """Read a chunk back; None if it is missing. A damaged one goes into quarantine and counts as missing."""
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

    def pack(self, made_from: Mapping[str, Any], keys: Sequence[str], widths: Sequence[int], chunks: int) -> None:
        """Finish the entry: join the chunks, then write the index. Nothing happens if a chunk proves missing."""
        lengths: list[int] = []
        checksums: list[int] = []
        masked = False
        try:
            with files.atomic_write(self.features) as scratch, scratch.open("wb") as stream:
                for number in range(chunks):
                    chunk = self.read_chunk(number)
                    if chunk is None:
                        raise _MissingChunkError
                    stream.write(as_bytes(chunk.values))
                    lengths += chunk.lengths.tolist()
                    checksums.append(checksum(chunk.values))
                    masked = chunk.masked
        except _MissingChunkError:
            return
        self._write_index(
            CacheIndex(
                dict(made_from),
                tuple(keys),
                tuple(lengths),
                tuple(widths),
                masked,
                tuple(checksums),
                library_versions(),
            )
        )
        shutil.rmtree(self.chunks, ignore_errors=True)  # another worker may be removing it, too

    def map(self, index: CacheIndex) -> NDArray[np.uint8]:
        """Map the file of features into memory, as bytes; writing to the mapping never reaches the file."""
        if index.bytes == 0:
            return np.zeros(0, np.uint8)
        return np.memmap(self.features, np.uint8, mode="c")

    def damaged(self, index: CacheIndex) -> list[int]:
        """Compare every chunk with its checksum; return those that differ."""
        data = self.map(index).data
        return [number for number, known in enumerate(index.checksums) if zlib.crc32(data[index.span(number)]) != known]

    def repair(self, index: CacheIndex, number: int, chunk: Chunk) -> CacheIndex:
        """Put a damaged chunk's bytes into quarantine and a recomputed one into its place; return the new index."""
        span, data = index.span(number), as_bytes(chunk.values)
        if len(data) != span.stop - span.start:
            raise RuntimeError(f"chunk {number} of {self.path} has another size than when it was first computed")
        kept = self._quarantine_name(f"{number:05d}")
        files.write_bytes(kept, self.map(index)[span].tobytes())
        with files.explain_disk_errors(self.features), self.features.open("r+b") as stream:
            stream.seek(span.start)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        logger.warning("expert cache: chunk %d of %s was damaged: recomputed (kept as %s)", number, self.path, kept)
        known = index.checksums
        repaired = dataclasses.replace(index, checksums=(*known[:number], checksum(chunk.values), *known[number + 1 :]))
        if repaired != index:  # another processor or version of torch: the last bits differ
            self._write_index(repaired)
        return repaired

    def discard(self) -> None:
        """Move a damaged entry into quarantine, so that it is built anew."""
        for path in (self.path / "index.json", self.features):
            self._quarantine(path)

    def _write_index(self, index: CacheIndex) -> None:
        files.write_text(self.path / "index.json", to_text(index))

    def _quarantine(self, path: Path) -> None:
        place = self._quarantine_name(path.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(place)
        except FileNotFoundError:
            return  # there is none, or another worker found it first
        logger.warning("expert cache: %s was damaged: computed anew (kept as %s)", path, place)

    def _quarantine_name(self, part: str) -> Path:
        return self.path.parent / QUARANTINE / f"{self.path.name}-{secrets.token_hex(4)}-{part}"
