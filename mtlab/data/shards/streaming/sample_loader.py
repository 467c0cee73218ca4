"""Streaming batches of texts and pixels from shards, in worker processes, for towers that are trained.

Shapes: n texts in all, B texts of this rank's batch, S side of what a tower takes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.records import Record
from mtlab.data.shards.streaming.epoch import LANES, ShardPass, shard_passes
from mtlab.data.shards.streaming.schedule import TextSpan, epoch_steps, mixture_steps
from mtlab.data.shards.streaming.worker_reader import TrainingReader, WorkerInfo, WorkerShare, read_once
from mtlab.data.shards.streaming.workers import in_processes
from mtlab.data.transforms.base import ImageTransform
from mtlab.distributed.ranks import Ranks
from mtlab.errors import UserError

logger = logging.getLogger("mtlab")


@dataclass(frozen=True)
class StreamedTexts:
    """Which texts are streamed.

    Without weights an epoch has all texts of all parts once. With weights, each part is a data set of a mixture: it has
    its share of the texts of the steps, whatever its size, and epochs of its own.
    """

    parts: Sequence[tuple[ShardFolder, str]]  #: folders, and selections in them
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError("there is nothing to stream")
        if self.weights is not None and (len(self.weights) != len(self.parts) or min(self.weights) <= 0):
            raise UserError(f"expected {len(self.parts)} weights above 0, one for each data set: {self.weights}")
        for (_, selection), line in zip(self.parts, self._units, strict=True):
            if not line:
                raise UserError(f"{selection} has no text")

    @cached_property
    def _units(self) -> list[list[ShardPass]]:
        return [shard_passes(shards, selection, source=at) for at, (shards, selection) in enumerate(self.parts)]

    @property
    def lines(self) -> list[list[ShardPass]]:
        """The units of each data set of a mixture; without weights all are one."""
        return self._units if self.weights else [[unit for line in self._units for unit in line]]

    @property
    def texts(self) -> list[int]:
        """Texts of each line."""
        return [sum(unit.texts for unit in line) for line in self.lines]

    @property
    def shards(self) -> int:
        """How many files there are."""
        return len({(id(unit.shards), unit.stretch.shard.file) for line in self._units for unit in line})

    def steps(self, batch: int, start: int) -> Iterator[Sequence[TextSpan]]:
        """Say which texts make each step from `start` on."""
        if self.weights:
            return mixture_steps(self.texts, self.weights, batch, start)
        return epoch_steps(self.texts[0], batch, start)


@dataclass(frozen=True)
class SampleBatch:
    """A batch."""

    records: tuple[Record, ...]  #: [B]
    sources: tuple[int, ...]  #: which part of the stream each is from, [B]: keys of images are unique in its folder
    pixels: tuple[Tensor, ...]  #: one for each image of a sample (pairs have two), [B, 3, S, S]

    def __len__(self) -> int:
        return len(self.records)


class SampleLoader:
    """Batches of a stream.

    The texts of a step depend on seed and step alone: not on the number of ranks or workers. So do augmented pixels.

    Args:
        stream: which texts.
        transform: makes pixels, all of one size; None: nothing is decoded.
        workers: processes that read and decode; 0: this one does.
        rank: of this process among those that train one model.
        ranks: how many they are.

    Raises:
        UserError: the transform gives images of different sizes.

    """

    def __init__(
        self,
        stream: StreamedTexts,
        transform: ImageTransform | None,
        *,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if transform is not None and not transform.square:
            raise UserError("gives images of different shapes, which do not fit into one batch", key="transform")
        self.stream = stream
        self.transform = transform
        self.workers = workers
        self._reader = WorkerInfo(rank, ranks)

    def __len__(self) -> int:
        return sum(self.stream.texts)

    def of(self, ranks: Ranks) -> SampleLoader:
        """Make the same for one of several processes that train one model."""
        return SampleLoader(self.stream, self.transform, workers=self.workers, rank=ranks.rank, ranks=ranks.ranks)

    def steps_per_epoch(self, batch: int) -> int:
        """Count the steps of an epoch (of a mixture: in which as many texts are read as there are)."""
        return len(self) // batch

    def remainder(self, batch: int) -> int:
        """Count the texts that each epoch leaves out, other ones each time, as they do not fill a batch."""
        return len(self) % batch

    def steps(self, seed: int, batch: int, start: int = 0) -> Iterator[SampleBatch]:
        """Give this rank's share of the batch of every step from `start` on, without end; nothing before it is decoded.

        Args:
            seed: the run's.
            batch: texts of a step over all ranks, B · ranks.
            start: the first step, from 0.

        Raises:
            UserError: the batch cannot be shared evenly, or is larger than the data; a shard or an image is damaged, or
                cannot be read any more.

        """
        if batch % self._reader.ranks:
            raise UserError(f"{batch} cannot be shared by {self._reader.ranks} ranks evenly", key="train.batch")
        next(iter(self.stream.steps(batch, start)))  # refuse here what cannot be, not in each worker
        self._warn()
        workers = max(self.workers, 1)
        shares = in_processes(partial(self._training_shares, seed, batch, start), self.workers)
        while True:
            yield _merged([next(shares) for _ in range(workers)])

    def once(self, batch: int) -> Iterator[SampleBatch]:
        """Give every text exactly once over all ranks and workers, in batches of at most `batch`.

        Raises:
            UserError: a shard or an image is damaged, or cannot be read any more.

        """
        self._warn()
        for share in in_processes(partial(self._shares_once, batch), self.workers):
            yield SampleBatch(share.records, share.sources, share.pixels)

    def _training_shares(self, seed: int, batch: int, start: int, worker: int, workers: int) -> Iterator[WorkerShare]:
        reader = WorkerInfo(self._reader.rank, self._reader.ranks, worker, workers)
        training = TrainingReader(self.stream.lines, self.transform, seed, reader)
        return map(training.share, self.stream.steps(batch, start))

    def _shares_once(self, batch: int, worker: int, workers: int) -> Iterator[WorkerShare]:
        reader = WorkerInfo(self._reader.rank, self._reader.ranks, worker, workers)
        whole = [
            unit
            for at, (shards, selection) in enumerate(self.stream.parts)
            for unit in shard_passes(shards, selection, turns=1, source=at)
        ]
        return read_once(whole, self.transform, batch, reader)

    def _warn(self) -> None:
        readers = self._reader.ranks * max(self.workers, 1)
        if readers > self.stream.shards:
            logger.warning(
                "%d processes read %d shards: shards are split by sample; convert with more, smaller shards to read "
                "them faster",
                readers,
                self.stream.shards,
            )
        elif readers > LANES:
            logger.warning("%d processes read %d lanes: some read what others use", readers, LANES)


def _merged(shares: Sequence[WorkerShare]) -> SampleBatch:
    """Put the shares of a batch together, each text in its place."""
    if len(shares) == 1:
        (share,) = shares
        return SampleBatch(share.records, share.sources, share.pixels)
    places = [(place, share, at) for share in shares for at, place in enumerate(share.places)]
    places.sort(key=lambda each: each[0])
    back = torch.tensor([place for share in shares for place in share.places]).argsort()
    filled = [share.pixels for share in shares if share.pixels]
    return SampleBatch(
        tuple(share.records[at] for _, share, at in places),
        tuple(share.sources[at] for _, share, at in places),
        tuple(torch.cat(images)[back] for images in zip(*filled, strict=True)),
    )
