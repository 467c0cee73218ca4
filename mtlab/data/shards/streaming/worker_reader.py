"""The share of one worker process in each training step: read, decoded and transformed.

Shapes: k texts of a share, S side of the tower's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlab.data.shards.samples import TextRecord
from mtlab.data.shards.streaming.decode import decode_pixels
from mtlab.data.shards.streaming.epoch import WINDOW, Epoch, ShardPass
from mtlab.data.shards.streaming.sample_reader import EncodedText, SampleReader
from mtlab.data.shards.streaming.schedule import TextSpan
from mtlab.data.transforms.base import ImageTransform
from mtlab.seeding import derive


@dataclass(frozen=True)
class WorkerShare:
    """Some texts of a batch, ready for a tower."""

    positions: tuple[int, ...]  #: in the rank's batch, [k]
    records: tuple[TextRecord, ...]  #: [k]
    sources: tuple[int, ...]  #: number of each text's source in the stream, [k]
    pixels: tuple[Tensor, ...]  #: one tensor for each image of a sample, [k, 3, S, S]; none where k = 0


@dataclass(frozen=True)
class WorkerInfo:
    """Rank and number of a worker process."""

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1  #: of each rank

    def takes(self, position: int, number: int, lanes: int) -> bool:
        """Say whether this worker reads a text; exactly one worker does.

        A rank takes every `ranks`-th position of a batch. Its workers take lanes each, so that none reads what another
        one reads. Where there are too few lanes, or the ranks do not divide them, the workers take turns.

        Args:
            position: in the batch.
            number: of the text in its epoch.
            lanes: of the epoch.

        """
        if position % self.ranks != self.rank:
            return False
        if lanes % self.ranks == 0 and lanes >= self.ranks * self.workers:
            return number % lanes // self.ranks % self.workers == self.worker
        return position // self.ranks % self.workers == self.worker


class TrainingReader:
    """Reads a worker's share of each training step.

    Args:
        datasets: the passes of each data set of a mixture, or one list of all.
        transform: makes pixels.
        seed: the run's.
        worker: which worker this is.

    """

    def __init__(
        self, datasets: Sequence[Sequence[ShardPass]], transform: ImageTransform, seed: int, worker: WorkerInfo
    ) -> None:
        self._datasets = datasets
        self._transform = transform
        self._seed = seed
        self._worker = worker
        self._samples = SampleReader()
        self._epochs: dict[int, tuple[int, Epoch]] = {}  # data set → the epoch that is being read
        #: data set and lane → epoch and number of the window that is being read, and its texts
        self._windows: dict[tuple[int, int], tuple[int, int, list[EncodedText]]] = {}

    def read(self, step: Sequence[TextSpan]) -> WorkerShare:
        """Read this worker's texts of a step.

        Raises:
            UserError: a shard or an image is damaged, or cannot be read.

        """
        positions: list[int] = []
        texts: list[EncodedText] = []
        images: list[list[Tensor]] = []
        before = 0
        for span in step:
            epoch = self._epoch(span)
            for at in range(span.size):
                if self._worker.takes(before + at, span.first + at, epoch.lanes):
                    text = self._text(span, epoch, span.first + at)
                    positions.append((before + at) // self._worker.ranks)
                    texts.append(text)
                    images.append(_transform_images(text, self._transform, self._augmentation_seeds(span, text)))
            before += span.size
        return _make_share(positions, texts, images)

    def _epoch(self, span: TextSpan) -> Epoch:
        current = self._epochs.get(span.dataset)
        if current is None or current[0] != span.epoch:
            seed = derive(self._seed, "line", span.dataset)
            current = (span.epoch, Epoch(self._datasets[span.dataset], seed, span.epoch))
            self._epochs[span.dataset] = current
        return current[1]

    def _text(self, span: TextSpan, epoch: Epoch, number: int) -> EncodedText:
        position, lane = divmod(number, epoch.lanes)
        window, at = divmod(position, WINDOW)
        current = self._windows.get((span.dataset, lane))
        if current is None or current[:2] != (span.epoch, window):
            current = (span.epoch, window, self._samples.read(epoch.window(lane, window), epoch.seed))
            self._windows[span.dataset, lane] = current
        return current[2][at]

    def _augmentation_seeds(self, span: TextSpan, text: EncodedText) -> list[int]:
        record = text.record
        return [derive(self._seed, "augment", span.dataset, span.epoch, record.id, key) for key in record.images]


def _transform_images(text: EncodedText, transform: ImageTransform, seeds: Sequence[int]) -> list[Tensor]:
    """Decode and transform the images of a text, each with a seed of its own."""
    return [
        transform(decode_pixels(data, f"{text.shard}: {key}"), torch.Generator().manual_seed(seed))
        for data, key, seed in zip(text.images, text.record.images, seeds, strict=True)
    ]


def _make_share(
    positions: Sequence[int], texts: Sequence[EncodedText], images: Sequence[Sequence[Tensor]]
) -> WorkerShare:
    return WorkerShare(
        positions=tuple(positions),
        records=tuple(text.record for text in texts),
        sources=tuple(text.source for text in texts),
        pixels=tuple(map(torch.stack, zip(*images, strict=True))),  # all first images, then all second ones
    )
