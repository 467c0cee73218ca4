"""What one process reads: its share of each training step, or of an evaluation.

Shapes: k texts of a share, S side of what a tower takes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mtlab.data.shards.decode import pixels
from mtlab.data.shards.records import Record, image_keys, in_subset, record
from mtlab.data.shards.streaming.epoch import WINDOW, Epoch, ShardPass, shuffled
from mtlab.data.shards.streaming.sample_reader import RawSample, read_samples
from mtlab.data.shards.streaming.sample_table import SampleTable, in_turn, read_sample_table
from mtlab.data.shards.streaming.schedule import TextSpan
from mtlab.data.transforms.base import ImageTransform
from mtlab.seeding import derive

REMEMBERED = 256  #: layouts of stretches


@dataclass(frozen=True)
class EncodedText:
    """A text with its images, not yet decoded."""

    record: Record
    images: tuple[bytes, ...]
    where: str  #: the shard, for errors
    source: int  #: which part of the stream it is from


@dataclass(frozen=True)
class WorkerShare:
    """Some texts of a batch, ready for a tower."""

    places: tuple[int, ...]  #: in the batch, [k]
    records: tuple[Record, ...]  #: [k]
    sources: tuple[int, ...]  #: which part of the stream each is from, [k]
    pixels: tuple[Tensor, ...]  #: one for each image of a sample, [k, 3, S, S]; none where nothing is decoded


@dataclass(frozen=True)
class WorkerInfo:
    """Which of several processes this is."""

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def takes(self, place: int, number: int, lanes: int) -> bool:
        """Say whether a text is this process's; exactly one says so.

        A rank takes every so many-th place of a batch. Its workers take lanes each, so that nobody reads what another
        does; where there are too few lanes, or ranks do not fit into them, they take turns.

        Args:
            place: in the batch.
            number: of the text in its epoch.
            lanes: of the epoch.

        """
        if place % self.ranks != self.rank:
            return False
        if lanes % self.ranks == 0 and lanes >= self.ranks * self.workers:
            return number % lanes // self.ranks % self.workers == self.worker
        return place // self.ranks % self.workers == self.worker


@dataclass
class SampleReader:
    """Reads samples of stretches, and remembers where they lie."""

    _layouts: OrderedDict[tuple[int, str, int, int, str], SampleTable] = field(default_factory=OrderedDict)

    def items(self, wanted: Sequence[tuple[ShardPass, int]], seed: int | None) -> list[EncodedText]:
        """Read texts, each by its unit and its place in it; neighbours are read in one piece.

        Args:
            wanted: the texts; items come in the same order.
            seed: which text of an image comes in which turn; None: in the order of the shard.

        Raises:
            UserError: a shard is damaged, or cannot be read any more.

        """
        by_unit: dict[ShardPass, list[int]] = {}
        for unit, place in wanted:
            by_unit.setdefault(unit, []).append(place)
        found: dict[tuple[ShardPass, int], EncodedText] = {}
        for unit, places in by_unit.items():
            held = self._layout(unit)
            ends = np.cumsum(in_turn(held.texts, unit.turn, unit.turns))
            rows = np.searchsorted(ends, places, side="right").tolist()
            taken = read_samples(unit.shards, unit.stretch, held, rows)
            for place, row in zip(places, rows, strict=True):
                nth = place - (int(ends[row - 1]) if row else 0)
                found[unit, place] = _item(unit, taken[row], unit.turn + nth * unit.turns, seed)
        return [found[each] for each in wanted]

    def _layout(self, unit: ShardPass) -> SampleTable:
        stretch = unit.stretch
        key = (id(unit.shards), stretch.shard.file, stretch.first, stretch.last, unit.subset)
        if key not in self._layouts:
            self._layouts[key] = read_sample_table(unit.shards, stretch, unit.subset)
            if len(self._layouts) > REMEMBERED:
                self._layouts.popitem(last=False)
        self._layouts.move_to_end(key)
        return self._layouts[key]


def _item(unit: ShardPass, taken: RawSample, number: int, seed: int | None) -> EncodedText:
    texts = [text for text in taken.texts if in_subset(text, unit.subset)]
    if seed is not None:
        number = int(shuffled(derive(seed, taken.key), "texts", len(texts))[number])
    keys = image_keys(taken.key, len(taken.images))
    where = f"{unit.shards.place.name}/{unit.stretch.shard.file}"
    return EncodedText(record(keys, texts[number]), taken.images, where, unit.source)


class TrainingReader:
    """Reads a process's share of every step.

    Args:
        lines: the units of each data set of a mixture, or one list of all.
        transform: makes pixels; None: nothing is decoded.
        seed: the run's.
        reader: which process this is.

    """

    def __init__(
        self, lines: Sequence[Sequence[ShardPass]], transform: ImageTransform | None, seed: int, reader: WorkerInfo
    ) -> None:
        self._lines = lines
        self._transform = transform
        self._seed = seed
        self._reader = reader
        self._samples = SampleReader()
        self._epochs: dict[int, tuple[int, Epoch]] = {}  # line → the epoch that is being read
        self._windows: dict[
            tuple[int, int], tuple[int, int, list[EncodedText]]
        ] = {}  # line, lane → epoch, number, its texts

    def share(self, runs: Sequence[TextSpan]) -> WorkerShare:
        """Read this process's texts of a step.

        Raises:
            UserError: a shard or an image is damaged, or cannot be read any more.

        """
        chosen: list[tuple[int, TextSpan, EncodedText]] = []
        before = 0
        for run in runs:
            epoch = self._epoch(run)
            for at in range(run.size):
                if self._reader.takes(before + at, run.first + at, epoch.lanes):
                    item = self._text(run, epoch, run.first + at)
                    chosen.append(((before + at) // self._reader.ranks, run, item))
            before += run.size
        made = [_pixels(item, self._transform, self._seeds(run, item)) for _, run, item in chosen]
        return WorkerShare(
            places=tuple(place for place, _, _ in chosen),
            records=tuple(item.record for _, _, item in chosen),
            sources=tuple(item.source for _, _, item in chosen),
            pixels=stacked(made),
        )

    def _epoch(self, run: TextSpan) -> Epoch:
        known = self._epochs.get(run.line)
        if known is None or known[0] != run.epoch:
            known = (run.epoch, Epoch(self._lines[run.line], derive(self._seed, "line", run.line), run.epoch))
            self._epochs[run.line] = known
        return known[1]

    def _text(self, run: TextSpan, epoch: Epoch, number: int) -> EncodedText:
        place, lane = divmod(number, epoch.lanes)
        window, at = divmod(place, WINDOW)
        known = self._windows.get((run.line, lane))
        if known is None or known[:2] != (run.epoch, window):
            items = self._samples.items(epoch.window(lane, window), epoch.seed)
            known = (run.epoch, window, items)
            self._windows[run.line, lane] = known
        return known[2][at]

    def _seeds(self, run: TextSpan, item: EncodedText) -> list[int]:
        record = item.record
        return [derive(self._seed, "augment", run.line, run.epoch, record.id, key) for key in record.images]


def read_once(
    units: Sequence[ShardPass], transform: ImageTransform | None, batch: int, reader: WorkerInfo
) -> Iterator[WorkerShare]:
    """Read a process's share of all texts, each once, from front to back, in batches.

    Raises:
        UserError: a shard or an image is damaged, or cannot be read any more.

    """
    samples = SampleReader()
    whole, readers = sum(unit.texts for unit in units), reader.ranks * reader.workers
    number = reader.rank * reader.workers + reader.worker
    first, last = (whole * each // readers for each in (number, number + 1))
    for start in range(first, last, batch):
        items = samples.items(_between(units, start, min(start + batch, last)), None)
        decoded: dict[tuple[int, tuple[str, ...]], list[Tensor]] = {}  # texts of one image follow each other
        for item in items:
            if _shown(item) not in decoded:
                decoded[_shown(item)] = _pixels(item, transform, [0] * len(item.images))
        yield WorkerShare(
            places=tuple(range(len(items))),
            records=tuple(item.record for item in items),
            sources=tuple(item.source for item in items),
            pixels=stacked([decoded[_shown(item)] for item in items]),
        )


def _shown(item: EncodedText) -> tuple[int, tuple[str, ...]]:
    """Name what a text goes with: two folders may call different images alike."""
    return item.source, item.record.images


def _between(units: Sequence[ShardPass], first: int, last: int) -> list[tuple[ShardPass, int]]:
    """Find texts by their numbers, counted through all units."""
    found, start = [], 0
    for unit in units:
        found += [(unit, place) for place in range(max(first - start, 0), min(last - start, unit.texts))]
        start += unit.texts
    return found


def _pixels(item: EncodedText, transform: ImageTransform | None, seeds: Sequence[int]) -> list[Tensor]:
    """Decode and transform the images of a text, each with random numbers of its own."""
    if transform is None:
        return []
    return [
        transform(pixels(data, f"{item.where}: {key}"), torch.Generator().manual_seed(seed))
        for data, key, seed in zip(item.images, item.record.images, seeds, strict=True)
    ]


def stacked(images: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Put all first images together, and all second ones."""
    return tuple(map(torch.stack, zip(*images, strict=True)))
