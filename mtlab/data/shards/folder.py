"""A folder of shards opened for reading: its index, its texts without images, and single images by key."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtlab.data.image_files import decode_image
from mtlab.data.shards.index import ANSWERS, CLASSES, INDEX, Kind, Shard, ShardIndex, parse_index
from mtlab.data.shards.retries import RetryPolicy
from mtlab.data.shards.samples import BLOCK, SampleRow, TextRecord, image_keys, in_subset, parse_rows, row_records
from mtlab.data.shards.selection import ShardSlice, find_slices, parse_selection
from mtlab.data.shards.storage import Storage, open_storage
from mtlab.errors import UserError


class ShardFolder:
    """A folder of shards.

    Args:
        location: a folder, a URL or `pipe:COMMAND`, see `open_storage`.
        allow_pipe: commands may be run.
        retries: timeout and attempts of reads.

    Raises:
        UserError: there are no shards, they have another format, or a command is not allowed.

    """

    def __init__(self, location: str | Path, *, allow_pipe: bool = False, retries: RetryPolicy | None = None) -> None:
        self.storage: Storage = open_storage(location, retries, allow_pipe=allow_pipe)
        try:
            raw = self.storage.read(INDEX)
        except FileNotFoundError:
            raise UserError(f"holds no {INDEX}: `mtlab data convert` writes it last", file=self.storage.name) from None
        self.digest = hashlib.sha256(raw).hexdigest()
        self.index: ShardIndex = parse_index(raw, self._path(INDEX))

    @property
    def kind(self) -> Kind:
        """The kind of its samples."""
        return self.index.kind

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The answers that labels index; none for captions.

        Raises:
            UserError: the file of answers is missing or was changed.

        """
        if self.index.answers_sha256 is None:
            return CLASSES.get(self.kind, ())
        return tuple(json.loads(self._read_checked(ANSWERS, self.index.answers_sha256)))

    def size(self, selection: str) -> int:
        """Count the texts of a selection (`train`, `val/answerable`, `val[:-1000]`), mostly from the index alone."""
        subset, count = parse_selection(selection).subset, 0
        for shard_slice in self.slices(selection):
            if shard_slice.whole:
                count += shard_slice.shard.texts(subset)
            else:
                rows = self.rows(shard_slice.shard)[shard_slice.first : shard_slice.last]
                count += sum(in_subset(text, subset) for row in rows for text in row.texts)
        return count

    def records(self, selection: str) -> Iterator[TextRecord]:
        """Yield the records of a selection, always in the same order; no image is read.

        Raises:
            UserError: there is no such part or subset, or a file is damaged.

        """
        subset = parse_selection(selection).subset
        for shard_slice in self.slices(selection):
            for row in self.rows(shard_slice.shard)[shard_slice.first : shard_slice.last]:
                yield from row_records(row, subset)

    def rows(self, shard: Shard) -> list[SampleRow]:
        """Read the samples of a shard, without images.

        Raises:
            UserError: the file of rows is missing or was changed.

        """
        return parse_rows(self._read_checked(shard.rows, shard.rows_sha256))

    def slices(self, selection: str) -> list[ShardSlice]:
        """Find the samples of a selection, shard by shard."""
        return list(find_slices(self.index, parse_selection(selection)))

    def image_bytes(self, key: str) -> bytes:
        """Read an encoded image by its key in a record. The first call reads the rows of all shards.

        Raises:
            KeyError: no such image.
            UserError: the shard is damaged or does not match its rows, or two images have one key.

        """
        shard, offset, size = self._images[key]
        data = self.read_range(shard, offset - BLOCK, offset + size)
        _check_header(data[:BLOCK], key, size, self._path(shard.file))
        return data[BLOCK:]

    def image(self, key: str) -> NDArray[np.uint8]:
        """Decode an image, [H, W, 3] RGB; errors as in `image_bytes`."""
        return decode_image(self.image_bytes(key), f"{self.storage.name}: {key}")

    def read_range(self, shard: Shard, start: int, stop: int) -> bytes:
        """Read a byte range of a shard.

        Raises:
            UserError: the shard is missing.
            UnreadableError: it cannot be read, after several attempts.

        """
        try:
            return self.storage.read(shard.file, start, stop)
        except FileNotFoundError:
            raise self._damaged(shard.file, "is missing") from None

    @cached_property
    def _images(self) -> dict[str, tuple[Shard, int, int]]:
        """Shard, offset and size of each image; of an image in several parts, those in the first."""
        found: dict[str, tuple[Shard, int, int]] = {}
        for part in self.index.parts.values():
            for shard in part.shards:
                for row in self.rows(shard):
                    for key, (offset, size) in zip(image_keys(row.key, len(row.images)), row.images, strict=True):
                        place = shard, offset, size
                        first = found.setdefault(key, place)
                        if first is not place and (first[0] in part.shards or first[2] != size):
                            raise self._damaged(
                                shard.file, f"calls an image {key} that is another than in {first[0].file}"
                            )
        return found

    def _read_checked(self, file: str, sha256: str) -> bytes:
        try:
            raw = self.storage.read(file)
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise self._damaged(file, "is not the file that the index was written with")
        return raw

    def _damaged(self, file: str, problem: str) -> UserError:
        return UserError(f"{problem}: copy or convert the shards anew", file=self._path(file))

    def _path(self, file: str) -> str:
        return f"{self.storage.name}/{file}"


def _check_header(block: bytes, key: str, size: int, file: str) -> None:
    """Compare the tar header before an image's bytes with the image's row.

    Raises:
        UserError: it is another member's.

    """
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        fits = member.isreg() and member.size == size and member.name.rpartition(".")[0] == key
    except (tarfile.HeaderError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"has something else where {key} should be: copy or convert the shards anew", file=file)
