"""Reading texts with their encoded images from shards: neighbouring samples in one read, parsed by webdataset."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.index import IMAGES_PER_SAMPLE
from mtlab.data.shards.samples import TextRecord, image_keys, in_subset, make_record, member_problem
from mtlab.data.shards.selection import ShardSlice
from mtlab.data.shards.streaming.epoch import TURNS, ShardPass, shuffle
from mtlab.data.shards.streaming.sample_table import SampleTable, read_sample_table, texts_in_turn
from mtlab.errors import UserError
from mtlab.seeding import derive

MAX_GAP = 2**20  #: bytes between two samples; reading over a smaller gap costs less than another read
MAX_TABLES = 256  #: tables of slices that are cached


@dataclass(frozen=True)
class RawSample:
    """A sample as it is stored in a shard."""

    key: str
    texts: tuple[Any, ...]
    images: tuple[bytes, ...]


@dataclass(frozen=True)
class EncodedText:
    """A text with its encoded images."""

    record: TextRecord
    images: tuple[bytes, ...]
    shard: str  #: for errors
    source: int  #: number of its source in the stream


@dataclass
class SampleReader:
    """Reads texts by their positions in passes over shards, and caches the tables of the shards."""

    _tables: OrderedDict[tuple[int, str, int, int, str], SampleTable] = field(default_factory=OrderedDict)

    def read(self, wanted: Sequence[tuple[ShardPass, int]], seed: int) -> list[EncodedText]:
        """Read texts, in the order of `wanted`.

        Args:
            wanted: pass of each text, and its position there.
            seed: decides which text of an image comes in which turn.

        Raises:
            UserError: a shard is damaged, or cannot be read.

        """
        by_pass: dict[ShardPass, list[int]] = {}
        for shard_pass, position in wanted:
            by_pass.setdefault(shard_pass, []).append(position)
        texts: dict[tuple[ShardPass, int], EncodedText] = {}
        for shard_pass, positions in by_pass.items():
            table = self._table(shard_pass)
            ends = np.cumsum(texts_in_turn(table.texts, shard_pass.turn, TURNS))
            rows = np.searchsorted(ends, positions, side="right").tolist()
            samples = read_samples(shard_pass.shards, shard_pass.shard_slice, table, rows)
            for position, row in zip(positions, rows, strict=True):
                nth = position - (int(ends[row - 1]) if row else 0)
                number = shard_pass.turn + nth * TURNS
                texts[shard_pass, position] = _choose_text(shard_pass, samples[row], number, seed)
        return [texts[each] for each in wanted]

    def _table(self, shard_pass: ShardPass) -> SampleTable:
        shard_slice = shard_pass.shard_slice
        key = (id(shard_pass.shards), shard_slice.shard.file, shard_slice.first, shard_slice.last, shard_pass.subset)
        if key not in self._tables:
            self._tables[key] = read_sample_table(shard_pass.shards, shard_slice, shard_pass.subset)
            if len(self._tables) > MAX_TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return self._tables[key]


def _choose_text(shard_pass: ShardPass, sample: RawSample, number: int, seed: int) -> EncodedText:
    texts = [text for text in sample.texts if in_subset(text, shard_pass.subset)]
    chosen = shuffle(derive(seed, sample.key), "texts", len(texts))[number]
    record = make_record(image_keys(sample.key, len(sample.images)), texts[chosen])
    shard = f"{shard_pass.shards.storage.name}/{shard_pass.shard_slice.shard.file}"
    return EncodedText(record, sample.images, shard, shard_pass.source)


def read_samples(
    shards: ShardFolder, shard_slice: ShardSlice, table: SampleTable, positions: Sequence[int]
) -> dict[int, RawSample]:
    """Read samples of a slice, neighbours in one read.

    Args:
        shards: the folder.
        shard_slice: the samples' slice.
        table: of the slice.
        positions: of the samples in the slice, from 0.

    Raises:
        UnreadableError: the shard cannot be read.
        UserError: the shard is damaged, or has a member that is not allowed.

    """
    shard = f"{shards.storage.name}/{shard_slice.shard.file}"
    found: dict[int, RawSample] = {}
    for first, last in _ranges(sorted(set(positions)), table):
        data = shards.read_range(shard_slice.shard, int(table.starts[first]), int(table.ends[last]))
        samples = _parse_tar(data, shard)
        if [sample.key for sample in samples] != list(table.keys[first : last + 1]):
            raise UserError(
                f"has something else where {table.keys[first]} should be: copy or convert the shards anew", file=shard
            )
        for sample in samples:
            if len(sample.images) != IMAGES_PER_SAMPLE[shards.kind]:
                raise UserError(
                    f"{sample.key} has {len(sample.images)} images, not {IMAGES_PER_SAMPLE[shards.kind]}", file=shard
                )
        found |= zip(range(first, last + 1), samples, strict=True)
    return found


def _ranges(positions: Sequence[int], table: SampleTable) -> Iterator[tuple[int, int]]:
    """Group ascending positions into ranges without large gaps; yield first and last of each."""
    first = before = positions[0]
    for position in positions[1:]:
        if table.starts[position] - table.ends[before] > MAX_GAP:
            yield first, before
            first = position
        before = position
    yield first, before


def _parse_tar(data: bytes, shard: str) -> list[RawSample]:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    def allowed(name: str) -> bool:
        if (problem := member_problem(name)) is not None:
            raise UserError(f"member {name!r} {problem}", file=shard)
        return True

    try:
        files = tar_file_expander([{"url": shard, "stream": io.BytesIO(data)}], select_files=allowed)
        return [_parse_sample(sample) for sample in group_by_keys(files)]
    except UserError:
        raise
    except Exception as error:  # of tarfile, json, webdataset: all mean the same here
        reason = " ".join(str(error.args[0] if error.args else error).split())[:200]
        raise UserError(f"is damaged ({reason}): copy or convert the shards anew", file=shard) from None


def _parse_sample(sample: dict[str, Any]) -> RawSample:
    texts = json.loads(sample["json"])["texts"]
    types = sorted(kind for kind in sample if not kind.startswith("__") and kind != "json")  # 0.jpg before 1.jpg
    return RawSample(sample["__key__"], tuple(texts), tuple(sample[kind] for kind in types))
