"""From the examples of a split to batches: in an order that depends on seed and epoch alone, from any step on.

Shapes: B examples, L text tokens, M image tokens, D_n width of level n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from mtlab.data.base import Dataset, Example
from mtlab.data.masking import Masked, Masking
from mtlab.data.mismatches import mismatches
from mtlab.errors import UserError
from mtlab.towers.base import Features, Tower
from mtlab.training.seeding import derive, order

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
class Mismatched:
    """The texts of a batch, each with a picture that may not be its own: is it?"""

    images: Inputs | None  #: the pictures that are not; None: all are
    shown: Tensor  #: which picture goes with each text: a row of the batch's own, or behind them of `images`, int64 [B]
    matches: Tensor  #: 1 where it is the text's own, int64 [B]


@dataclass(frozen=True)
class Batch:
    """Some examples of a split."""

    rows: tuple[int, ...]  #: their positions in the split
    text: Inputs
    image: Inputs  #: where a text goes with several: all first ones, then all second ones
    targets: Tensor  #: int64 [B]; or a score of each answer, [B, A]
    masked: Masked | None = None  #: the texts with words hidden
    mismatched: Mismatched | None = None
    identities: Tensor | None = None  #: equal where the picture is, int64 [B]

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Batch:
        """Move to a device; from pinned memory without waiting for the copy."""
        return self if device.type == "cpu" else self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """Move to page-locked memory, from which a copy to the accelerator needs no waiting."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        masked, mismatched = self.masked, self.mismatched
        if masked is not None:
            masked = Masked(tuple(map(move, masked.words)), move(masked.places), move(masked.right))
        if mismatched is not None:
            images = None if mismatched.images is None else _each(mismatched.images, move)
            mismatched = Mismatched(images, move(mismatched.shown), move(mismatched.matches))
        return Batch(
            self.rows,
            _each(self.text, move),
            _each(self.image, move),
            move(self.targets),
            masked,
            mismatched,
            None if self.identities is None else move(self.identities),
        )


@dataclass(frozen=True)
class Hiding:
    """Words of the texts are hidden."""

    masking: Masking
    words: Source  #: gives ids and mask; what the tower makes of whole texts may come from elsewhere


@dataclass(frozen=True)
class Extras:
    """What a task wants of its batches beside text, picture and the right answer's number."""

    answers: tuple[str, ...] | None = None  #: targets are scores of all of these
    hiding: Hiding | None = None
    mismatches: bool = False  #: where a split is judged
    mismatches_in_training: bool = False
    identities: bool = False


class Loader:
    """The batches of one split.

    Args:
        examples: the split's examples.
        text: where their texts' inputs come from.
        image: where their images' inputs come from.
        extras: what the task wants beside. In training it rests on seed and step; elsewhere on the example alone, and
            so is the same in every run.

    """

    def __init__(self, examples: Sequence[Example], text: Source, image: Source, extras: Extras | None = None) -> None:
        self.examples = examples
        self.text = text
        self.image = image
        self.extras = extras or Extras()

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Gather the examples at these positions."""
        extras = self.extras
        seeds = [derive(0, "validation", "mask", row) for row in rows] if extras.hiding else []
        others = [self._others[row] for row in rows] if extras.mismatches else []
        return self._batch(rows, seeds, others, at_least_one=True)

    def _batch(
        self, rows: Sequence[int], seeds: Sequence[int], others: Sequence[int | None], *, at_least_one: bool
    ) -> Batch:
        """Gather examples.

        Args:
            rows: their positions.
            seeds: of what is hidden of each text, if anything is.
            others: the positions of those whose picture each text is shown with; None: its own; empty: that is no task.
            at_least_one: hide at least one token of each text.

        """
        chosen, extras = [self.examples[row] for row in rows], self.extras
        text = self.text.fetch([example.text for example in chosen])
        masked = None
        if extras.hiding is not None:
            words = extras.hiding.words.fetch([example.text for example in chosen])
            assert not isinstance(words, Features), "a source of words gives ids and mask"
            masked = extras.hiding.masking.hide(words, seeds, at_least_one=at_least_one)
        pictures = zip(*(example.images for example in chosen), strict=True)
        return Batch(
            tuple(rows),
            text,
            self.image.fetch([key for keys in pictures for key in keys]),
            self._targets(chosen),
            masked,
            self._mismatched(others) if others else None,
            torch.tensor([self._identities[example.image] for example in chosen]) if extras.identities else None,
        )

    def _targets(self, chosen: Sequence[Example]) -> Tensor:
        if self.extras.answers is None:
            return torch.tensor([example.target for example in chosen])
        scores = torch.zeros(len(chosen), len(self.extras.answers))
        for row, example in enumerate(chosen):
            for answer, score in example.scores:
                scores[row, answer] = score
        return scores

    def _mismatched(self, others: Sequence[int | None]) -> Mismatched:
        wrong = [other for other in others if other is not None]
        behind = iter(range(len(others), len(others) + len(wrong)))
        return Mismatched(
            self.image.fetch([self.examples[other].image for other in wrong]) if wrong else None,
            torch.tensor([row if other is None else next(behind) for row, other in enumerate(others)]),
            torch.tensor([int(other is None) for other in others]),
        )

    @cached_property
    def _identities(self) -> dict[str, int]:
        """Number the pictures, as they first occur."""
        return {key: number for number, key in enumerate(dict.fromkeys(example.image for example in self.examples))}

    @cached_property
    def _others(self) -> list[int | None]:
        """Choose, once for all, which text is shown with another's picture where nothing is learnt."""
        return mismatches([example.image for example in self.examples], derive(0, "validation", "mismatch"))

    def steps(self, seed: int, batch: int, micro: int, start: int = 0) -> Iterator[tuple[Batch, ...]]:
        """Give the micro-batches of every optimiser step from `start` on, without end.

        An epoch has ⌊examples / batch⌋ steps; what remains is another remainder in each epoch.

        Raises:
            UserError: there are fewer examples than one batch.

        """
        for step, rows in enumerate(training_rows(len(self.examples), seed, batch, start), start):
            hiding, seeds, others = self.extras.hiding, list[int](), list[int | None]()
            if hiding is not None:
                seeds = [derive(seed, "mask", step, place) for place in range(batch)]
            if self.extras.mismatches_in_training:
                drawn = mismatches([self.examples[row].image for row in rows], derive(seed, "mismatch", step))
                others = [None if other is None else rows[other] for other in drawn]
            yield tuple(
                self._batch(rows[part], seeds[part], others[part], at_least_one=False)
                for part in (slice(at, at + micro) for at in range(0, batch, micro))
            )

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


def moved(inputs: Inputs, device: torch.device) -> Inputs:
    """Move inputs to a device."""
    return inputs if device.type == "cpu" else _each(inputs, lambda tensor: tensor.to(device))


def _each(inputs: Inputs, move: Callable[[Tensor], Tensor]) -> Inputs:
    if isinstance(inputs, Features):
        return Features(tuple(map(move, inputs.levels)), None if inputs.mask is None else move(inputs.mask))
    return tuple(map(move, inputs))
