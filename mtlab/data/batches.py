"""From the examples of a split to batches: in an order that depends on seed and epoch alone, from any step on.

Shapes: B examples, L text tokens, M image tokens, D_n width of level n.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from mtlab.data.base import Dataset, Example
from mtlab.errors import UserError
from mtlab.towers.base import Features, Tower
from mtlab.training.seeding import order

Inputs = Features | tuple[Tensor, ...]  #: cached levels, or what a tower's `forward` takes
T = TypeVar("T")


class Source(Protocol):
    """Where a modality's inputs come from: the expert cache, or raw data that a tower is still to read."""

    def fetch(self, keys: Sequence[str]) -> Inputs:
        """Gather the inputs of these texts, or of the images with these keys, in this order."""


@dataclass(frozen=True)
class RawTexts:
    """Texts made ready for a tower that runs in every step."""

    tower: Tower[str]

    def fetch(self, keys: Sequence[str]) -> tuple[Tensor, ...]:
        """Tokenise the texts."""
        return self.tower.prepare(keys)


@dataclass(frozen=True)
class RawImages:
    """Images made ready for a tower that runs in every step."""

    tower: Tower[Any]
    dataset: Dataset

    def fetch(self, keys: Sequence[str]) -> tuple[Tensor, ...]:
        """Read the images and turn them into pixels as the tower wants them."""
        return self.tower.prepare([self.dataset.image(key) for key in keys])


@dataclass(frozen=True)
class Batch:
    """Some examples of a split."""

    rows: tuple[int, ...]  #: their positions in the split
    text: Inputs
    image: Inputs
    targets: Tensor  #: [B], int64

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Batch:
        """Move to a device; from pinned memory without waiting for the copy."""
        if device.type == "cpu":
            return self
        return Batch(self.rows, _moved(self.text, device), _moved(self.image, device), _move(self.targets, device))

    def pinned(self) -> Batch:
        """Move to page-locked memory, from which a copy to the accelerator needs no waiting."""
        return Batch(self.rows, _pinned(self.text), _pinned(self.image), self.targets.pin_memory())


class Loader:
    """The batches of one split.

    Args:
        examples: the split's examples.
        text: where their texts' inputs come from.
        image: where their images' inputs come from.

    """

    def __init__(self, examples: Sequence[Example], text: Source, image: Source) -> None:
        self.examples = examples
        self.text = text
        self.image = image

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Gather the examples at these positions."""
        chosen = [self.examples[row] for row in rows]
        return Batch(
            tuple(rows),
            self.text.fetch([example.text for example in chosen]),
            self.image.fetch([example.image for example in chosen]),
            torch.tensor([example.target for example in chosen]),
        )

    def steps(self, seed: int, batch: int, micro: int, start: int = 0) -> Iterator[tuple[Batch, ...]]:
        """Give the micro-batches of every optimiser step from `start` on, without end.

        An epoch has ⌊examples / batch⌋ steps; what remains is another remainder in each epoch.

        Raises:
            UserError: there are fewer examples than one batch.

        """
        for rows in training_rows(len(self.examples), seed, batch, start):
            yield tuple(self.batch(rows[at : at + micro]) for at in range(0, batch, micro))

    def once(self, batch: int, rows: Iterable[int] | None = None) -> Iterator[Batch]:
        """Give every example (or those at `rows`) exactly once, texts of similar length together to save padding."""
        chosen = sorted(
            range(len(self.examples)) if rows is None else rows, key=lambda row: (len(self.examples[row].text), row)
        )
        for at in range(0, len(chosen), batch):
            yield self.batch(chosen[at : at + batch])


def training_rows(examples: int, seed: int, batch: int, start: int = 0) -> Iterator[list[int]]:
    """Give the positions of each step's examples from step `start` on; finding the start costs one shuffle.

    Raises:
        UserError: there are fewer examples than one batch.

    """
    if examples < batch:
        raise UserError(f"{batch} is more than the {examples} training examples", key="train.batch")
    epoch, step = divmod(start, examples // batch)
    while True:
        shuffled = order(seed, epoch, examples).tolist()
        for at in range(step, examples // batch):
            yield shuffled[at * batch : (at + 1) * batch]
        epoch, step = epoch + 1, 0


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Fetch the next item in a thread of its own while the last one is in use: hides reading behind an accelerator."""
    with ThreadPoolExecutor(1, thread_name_prefix="mtlab-loader") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _moved(inputs: Inputs, device: torch.device) -> Inputs:
    if isinstance(inputs, Features):
        mask = None if inputs.mask is None else _move(inputs.mask, device)
        return Features(tuple(_move(level, device) for level in inputs.levels), mask)
    return tuple(_move(tensor, device) for tensor in inputs)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device, non_blocking=True)


def _pinned(inputs: Inputs) -> Inputs:
    if isinstance(inputs, Features):
        mask = None if inputs.mask is None else inputs.mask.pin_memory()
        return Features(tuple(level.pin_memory() for level in inputs.levels), mask)
    return tuple(tensor.pin_memory() for tensor in inputs)
