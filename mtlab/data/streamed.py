"""Training batches that are streamed from shards: nothing of the data set is held in memory.

Shapes: B texts of a step, S side of what a vision tower takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mtlab.data.batches import Batch, Maker, drawn_in_training
from mtlab.data.sharded import Sharded
from mtlab.data.shards.stream import Loaded, StreamLoader


class StreamedLoader:
    """The training batches of a data set in shards.

    Args:
        loader: reads and decodes; the texts of a step depend on seed and step alone.
        dataset: makes examples of records.
        maker: makes batches of examples.

    """

    def __init__(self, loader: StreamLoader, dataset: Sharded, maker: Maker) -> None:
        self.loader = loader
        self.dataset = dataset
        self.maker = maker

    def steps(self, seed: int, batch: int, micro: int, start: int = 0) -> Iterator[tuple[Batch, ...]]:
        """Give the micro-batches of every optimiser step from `start` on, without end; see `Loader.steps`."""
        for step, loaded in enumerate(self.loader.steps(seed, batch, start), start):
            yield tuple(self._batches(loaded, seed, step, micro))

    def _batches(self, loaded: Loaded, seed: int, step: int, micro: int) -> Iterator[Batch]:
        parts = self.dataset.parts["train"]
        examples = [
            self.dataset.example(record, "train", parts[source].name)
            for record, source in zip(loaded.records, loaded.sources, strict=True)
        ]
        drawn = drawn_in_training(self.maker.extras, seed, step, [example.image for example in examples])
        for at in range(0, len(examples), micro):
            part = slice(at, at + micro)
            own = drawn.at(part)
            wrong = [other for other in own.others if other is not None]
            yield self.maker.make(
                range(at, min(at + micro, len(examples))),
                examples[part],
                (torch.cat([picture[part] for picture in loaded.pixels]),),
                own,
                (_rows(loaded.pixels[0], wrong),) if wrong else None,
            )


def _rows(pixels: Tensor, rows: Sequence[int]) -> Tensor:
    return pixels[torch.tensor(rows)]
