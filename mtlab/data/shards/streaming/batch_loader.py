"""Training batches that are streamed from shards: nothing of the data set is held in memory.

Shapes: B texts of a step, S side of what a vision tower takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.batches import Batch, BatchSeeds, Collator, drawn_in_training
from mtlab.data.shards.dataset import ShardedDataset
from mtlab.data.shards.streaming.sample_loader import SampleBatch, SampleLoader
from mtlab.distributed.ranks import ALL, Ranks


class StreamingLoader:
    """The training batches of a data set in shards.

    Args:
        loader: reads and decodes; the texts of a step depend on seed and step alone.
        dataset: makes examples of records.
        maker: makes batches of examples.

    """

    def __init__(self, loader: SampleLoader, dataset: ShardedDataset, maker: Collator) -> None:
        self.loader = loader
        self.dataset = dataset
        self.maker = maker

    def steps(
        self, seed: int, batch: int, micro: int, start: int = 0, ranks: Ranks = ALL
    ) -> Iterator[tuple[Batch, ...]]:
        """Give the micro-batches of every optimiser step from `start` on, without end; see `Loader.steps`.

        Where a text may be shown with the picture of any other of the step, every process reads the whole step.
        """
        parts = self.dataset.parts["train"]
        reads = ALL if self.maker.extras.mismatches_in_training else ranks
        for step, loaded in enumerate(self.loader.of(reads).steps(seed, batch, start), start):
            examples = [
                self.dataset.example(record, "train", parts[source].name)
                for record, source in zip(loaded.records, loaded.sources, strict=True)
            ]
            drawn = drawn_in_training(self.maker.extras, seed, step, batch, [example.image for example in examples])
            yield tuple(
                self._batch(
                    range(batch)[part],
                    [place // reads.ranks for place in range(batch)[part]],
                    examples,
                    loaded,
                    drawn.at(part),
                )
                for part in ranks.parts(batch, micro)
            )

    def _batch(
        self,
        places: Sequence[int],
        rows: Sequence[int],
        examples: Sequence[Example],
        loaded: SampleBatch,
        own: BatchSeeds,
    ) -> Batch:
        """Put a micro-batch together.

        Args:
            places: of its texts in the step.
            rows: the same among those that were read.
            examples: all that were read.
            loaded: with their pixels.
            own: the random numbers of the micro-batch.

        """
        wrong = [other for other in own.others if other is not None]
        return self.maker.make(
            places,
            [examples[row] for row in rows],
            (torch.cat([_rows(picture, rows) for picture in loaded.pixels]),),
            own,
            (_rows(loaded.pixels[0], wrong),) if wrong else None,
        )


def _rows(pixels: Tensor, rows: Sequence[int]) -> Tensor:
    return pixels[torch.tensor(rows)]
