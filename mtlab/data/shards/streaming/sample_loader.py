"""Batches of texts and pixels from shards, read and decoded in worker processes.

Shapes: n texts in all, B texts of this rank's batch, S side of the tower's input.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.samples import TextRecord
from mtlab.data.shards.streaming.epoch import LANES, ShardPass, shard_passes
from mtlab.data.shards.streaming.schedule import TextSpan, epoch_steps, mixture_steps
from mtlab.data.shards.streaming.worker_reader import TrainingReader, WorkerInfo, WorkerShare
from mtlab.data.shards.streaming.workers import run_in_workers
from mtlab.data.transforms.base import ImageTransform
from mtlab.distributed.ranks import Ranks
from mtlab.errors import UserError

logger = logging.getLogger("mtlab")


@dataclass(frozen=True)
class StreamedTexts:
    """The texts that are streamed.

    Without weights, an epoch has all texts of all sources once. With weights, each source is a data set of a mixture:
    it has its share of the texts of the steps, whatever its size, and epochs of its own.
    """

    sources: Sequence[tuple[ShardFolder, str]]  #: folders, and selections in them
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("there is nothing to stream")
        if self.weights is not None and (len(self.weights) != len(self.sources) or min(self.weights) <= 0):
            raise UserError(f"expected {len(self.sources)} weights above 0, one for each data set: {self.weights}")
        for (_, selection), passes in zip(self.sources, self._passes, strict=True):
            if not passes:
                raise UserError(f"{selection} has no text")

    @cached_property
    def _passes(self) -> list[list[ShardPass]]:
        return [shard_passes(shards, selection, source=at) for at, (shards, selection) in enumerate(self.sources)]

    @property
    def datasets(self) -> list[list[ShardPass]]:
        """The passes of each data set of a mixture; without weights all are one."""
        return self._passes if self.weights else [[each for passes in self._passes for each in passes]]

    @property
    def texts(self) -> list[int]:
        """Number of texts of each data set."""
        return [sum(each.texts for each in passes) for passes in self.datasets]

    @property
    def shards(self) -> int:
        """Number of shard files."""
        return len({(id(each.shards), each.shard_slice.shard.file) for passes in self._passes for each in passes})

    def steps(self, batch: int, start: int) -> Iterator[Sequence[TextSpan]]:
        """Yield the texts of each step from `start` on."""
        if self.weights:
            return mixture_steps(self.texts, self.weights, batch, start)
        return epoch_steps(self.texts[0], batch, start)


@dataclass(frozen=True)
class SampleBatch:
    """A batch of texts with their pixels."""

    records: tuple[TextRecord, ...]  #: [B]
    sources: tuple[int, ...]  #: number of each text's source, [B]: keys of images are unique in its folder
    pixels: tuple[Tensor, ...]  #: one tensor for each image of a sample (pairs have two), [B, 3, S, S]

    def __len__(self) -> int:
        return len(self.records)


@dataclass(eq=False)
class SampleLoader:
    """Loads batches of streamed texts.

    The texts of a step and their augmented pixels depend on seed and step alone, not on the number of ranks or workers.

    Raises:
        UserError: the transform gives images of different sizes.

    """

    stream: StreamedTexts
    transform: ImageTransform  #: makes pixels, all of one size
    _: KW_ONLY
    workers: int = 0  #: processes that read and decode; 0: in this process
    rank: int = 0  #: of this process among those that train one model
    ranks: int = 1

    def __post_init__(self) -> None:
        if not self.transform.square:
            raise UserError("gives images of different shapes, which do not fit into one batch", key="transform")

    def __len__(self) -> int:
        return sum(self.stream.texts)

    def for_rank(self, ranks: Ranks) -> SampleLoader:
        """Return the same loader for another rank."""
        return replace(self, rank=ranks.rank, ranks=ranks.world_size)

    def steps(self, seed: int, batch: int, start: int = 0) -> Iterator[SampleBatch]:
        """Yield this rank's batch of every step from `start` on, without end; nothing before it is decoded.

        Args:
            seed: the run's.
            batch: texts of a step over all ranks, B · ranks.
            start: the first step, from 0.

        Raises:
            UserError: the ranks do not divide the batch, it is larger than the data, or a shard or an image is damaged
                or cannot be read.

        """
        if batch % self.ranks:
            raise UserError(f"{batch} cannot be shared by {self.ranks} ranks evenly", key="train.batch")
        next(iter(self.stream.steps(batch, start)))  # raise an error here, not in each worker
        self._warn()
        workers = max(self.workers, 1)
        shares = run_in_workers(partial(self._training_shares, seed, batch, start), self.workers)
        while True:
            yield _merge_shares([next(shares) for _ in range(workers)])

    def _training_shares(self, seed: int, batch: int, start: int, worker: int, workers: int) -> Iterator[WorkerShare]:
        info = WorkerInfo(self.rank, self.ranks, worker, workers)
        reader = TrainingReader(self.stream.datasets, self.transform, seed, info)
        return map(reader.read, self.stream.steps(batch, start))

    def _warn(self) -> None:
        readers = self.ranks * max(self.workers, 1)
        if readers > self.stream.shards:
            logger.warning(
                "%d processes read %d shards: shards are split by sample; convert with more, smaller shards to read "
                "them faster",
                readers,
                self.stream.shards,
            )
        elif readers > LANES:
            logger.warning("%d processes read %d lanes: some read what others use", readers, LANES)


def _merge_shares(shares: Sequence[WorkerShare]) -> SampleBatch:
    """Merge the workers' shares of a batch, each text at its position."""
    if len(shares) == 1:
        (share,) = shares
        return SampleBatch(share.records, share.sources, share.pixels)
    texts = [(position, share, at) for share in shares for at, position in enumerate(share.positions)]
    texts.sort(key=lambda each: each[0])
    order = torch.tensor([position for share in shares for position in share.positions]).argsort()
    filled = [share.pixels for share in shares if share.pixels]
    return SampleBatch(
        tuple(share.records[at] for _, share, at in texts),
        tuple(share.sources[at] for _, share, at in texts),
        tuple(torch.cat(images)[order] for images in zip(*filled, strict=True)),
    )
