"""Training batches that are streamed from shards: nothing of the data set is held in memory.

Shapes: S side of the tower's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.batches import Batch, BatchSeeds, Collator, training_seeds
from mtlab.data.shards.dataset import ShardedDataset
from mtlab.data.shards.streaming.sample_loader import SampleBatch, SampleLoader
from mtlab.distributed.ranks import SINGLE_RANK, Ranks


@dataclass(eq=False)
class StreamingLoader:
    """The training batches of a data set in shards."""

    samples: SampleLoader  #: the texts of a step depend on seed and step alone
    dataset: ShardedDataset  #: makes examples of records
    collator: Collator

    def steps(
        self, seed: int, batch: int, micro: int, start: int = 0, ranks: Ranks = SINGLE_RANK
    ) -> Iterator[tuple[Batch, ...]]:
        """Yield the micro-batches of every optimiser step from `start` on, without end; see `Loader.steps`.

        Where a text may be paired with the image of any other one of the step, every process reads the whole step.
        """
        sources = self.dataset.sources["train"]
        options = self.collator.options
        reads = SINGLE_RANK if options.negatives_in_training else ranks
        for step, samples in enumerate(self.samples.for_rank(reads).steps(seed, batch, start), start):
            examples = [
                self.dataset.example(record, "train", sources[source])
                for record, source in zip(samples.records, samples.sources, strict=True)
            ]
            seeds = training_seeds(options, seed, step, batch, [example.image for example in examples])
            yield tuple(
                self._batch(range(batch)[part], reads, examples, samples, seeds.at(part))
                for part in ranks.micro_batches(batch, micro)
            )

    def _batch(
        self,
        positions: Sequence[int],
        reads: Ranks,
        examples: Sequence[Example],
        samples: SampleBatch,
        seeds: BatchSeeds,
    ) -> Batch:
        """Make a micro-batch.

        Args:
            positions: of its texts in the step.
            reads: the share of the step that was read.
            examples: all that were read.
            samples: their pixels.
            seeds: of the micro-batch.

        """
        rows = [position // reads.world_size for position in positions]
        negatives = [other for other in seeds.negatives if other is not None]
        return self.collator.collate(
            positions,
            [examples[row] for row in rows],
            (torch.cat([_select(pixels, rows) for pixels in samples.pixels]),),
            seeds,
            (_select(samples.pixels[0], negatives),) if negatives else None,
        )


def _select(pixels: Tensor, rows: Sequence[int]) -> Tensor:
    return pixels[torch.tensor(rows)]
