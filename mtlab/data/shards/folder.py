"""A folder of shards, open for reading: what it holds, its texts without images, and single images by key."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtlab.data.shards import index as indices
from mtlab.data.shards.index import CLASSES, Kind, Shard, ShardIndex
from mtlab.data.shards.records import Record, image_keys, in_subset, records
from mtlab.data.shards.samples import BLOCK, SampleRow, from_lines
from mtlab.data.shards.selection import Stretch, parse, stretches
from mtlab.data.shards.storage import RetryPolicy, Storage, open_storage
from mtlab.errors import UserError


class ShardFolder:
    """A folder of shards.

    Args:
        location: a folder, `http(s)://…`, or `pipe:COMMAND` with {} for a file's name.
        allow_pipe: commands may be run.
        patience: how long to wait for what is elsewhere.

    Raises:
        UserError: there are none, or they are of another version; a command that was not allowed.

    """

    def __init__(self, location: str | Path, *, allow_pipe: bool = False, patience: RetryPolicy | None = None) -> None:
        self.place: Storage = open_storage(location, patience, allow_pipe=allow_pipe)
        try:
            raw = self.place.read(indices.INDEX)
        except FileNotFoundError:
            raise UserError(
                f"holds no {indices.INDEX}: `mtlab data convert` writes it last", file=self.place.name
            ) from None
        self.digest = hashlib.sha256(raw).hexdigest()
        self.index: ShardIndex = indices.from_text(raw, f"{self.place.name}/{indices.INDEX}")

    @property
    def kind(self) -> Kind:
        """What its samples are."""
        return self.index.kind

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """What labels stand for; none for captions.

        Raises:
            UserError: the file of answers is missing, or is not the one that was written.

        """
        if self.index.answers_sha256 is None:
            return CLASSES.get(self.kind, ())
        raw = self._file(indices.ANSWERS)
        if hashlib.sha256(raw).hexdigest() != self.index.answers_sha256:
            raise self._damaged(indices.ANSWERS, "is not the file that the index was written with")
        return tuple(json.loads(raw))

    def size(self, selection: str) -> int:
        """Count the texts of a selection (`train`, `val/answerable`, `val[:-1000]`): nearly all by the index alone."""
        subset, counted = parse(selection).subset, 0
        for stretch in self.stretches(selection):
            if stretch.whole:
                counted += stretch.shard.texts(subset)
            else:
                rows = self.rows(stretch.shard)[stretch.first : stretch.last]
                counted += sum(in_subset(text, subset) for row in rows for text in row.texts)
        return counted

    def records(self, selection: str) -> Iterator[Record]:
        """Give the texts of a selection, always in the same order; no image is read.

        Raises:
            UserError: there is no such part or subset, or a file is damaged.

        """
        wanted = parse(selection)
        for stretch in stretches(self.index, wanted):
            for row in self.rows(stretch.shard)[stretch.first : stretch.last]:
                yield from records(row, wanted.subset)

    def rows(self, shard: Shard) -> list[SampleRow]:
        """Read the samples of a shard, without images.

        Raises:
            UserError: the file is damaged, or not the one that the index was written with.

        """
        raw = self._file(shard.rows)
        if hashlib.sha256(raw).hexdigest() != shard.rows_sha256:
            raise self._damaged(shard.rows, "is not the file that the index was written with")
        return list(from_lines(raw))

    def stretches(self, selection: str) -> list[Stretch]:
        """Find the samples of a selection, shard by shard."""
        return list(stretches(self.index, parse(selection)))

    def image_bytes(self, key: str) -> bytes:
        """Read an image as it came, by its key in a record. The first call reads all lines.

        Raises:
            KeyError: no such image.
            UserError: the shard is damaged, or not the one that the lines were written with; two images have one key.

        """
        shard, offset, size = self._images[key]
        data = self.piece(shard, offset - BLOCK, offset + size)
        check_header(data[:BLOCK], key, size, self._where(shard.file))
        return data[BLOCK:]

    def image(self, key: str) -> NDArray[np.uint8]:
        """Decode an image, [H, W, 3] RGB; errors as in `image_bytes`."""
        from mtlab.data.image_files import decode_image

        return decode_image(self.image_bytes(key), f"{self.place.name}: {key}")

    @cached_property
    def _images(self) -> dict[str, tuple[Shard, int, int]]:
        """Where each image lies; of one that is in several parts, where it lies first."""
        found: dict[str, tuple[Shard, int, int]] = {}
        for part in self.index.parts.values():
            for shard in part.shards:
                for row in self.rows(shard):
                    for key, (offset, size) in zip(image_keys(row.key, len(row.images)), row.images, strict=True):
                        place = shard, offset, size
                        known = found.setdefault(key, place)
                        if known is not place and (known[0] in part.shards or known[2] != size):
                            raise self._damaged(
                                shard.file, f"calls an image {key} that is another than in {known[0].file}"
                            )
        return found

    def _file(self, file: str) -> bytes:
        try:
            return self.place.read(file)
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None

    def piece(self, shard: Shard, start: int, stop: int) -> bytes:
        """Read some bytes of a shard.

        Raises:
            UserError: the shard is missing.
            LostError: it cannot be read any more.

        """
        try:
            return self.place.read(shard.file, start, stop)
        except FileNotFoundError:
            raise self._damaged(shard.file, "is missing") from None

    def _damaged(self, file: str, problem: str) -> UserError:
        return UserError(f"{problem}: copy or convert the shards anew", file=self._where(file))

    def _where(self, file: str) -> str:
        return f"{self.place.name}/{file}"


def check_header(block: bytes, key: str, size: int, place: str) -> None:
    """Compare the header before an image's bytes with what the lines say.

    Raises:
        UserError: something else is there.

    """
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        fits = member.isreg() and member.size == size and member.name.rpartition(".")[0] == key
    except (tarfile.HeaderError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"has something else where {key} should be: copy or convert the shards anew", file=place)
