"""From the examples of a split to batches: in an order that depends on seed and epoch alone, from any step on.

Shapes: B examples, L text tokens, M image tokens, D_n width of level n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.inputs import AugmentedImages, InputSource, TowerInputs, map_tensors
from mtlab.data.masking import MaskedTexts, Masking
from mtlab.data.matching import draw_mismatches
from mtlab.distributed.ranks import ALL, Ranks
from mtlab.errors import UserError
from mtlab.seeding import derive, order
from mtlab.towers.base import Features

T = TypeVar("T")
Shown = tuple[str, int, int]  #: key of a picture, whose in the batch it is, and which of its pictures; −1: another's


@dataclass(frozen=True)
class MatchingPairs:
    """The texts of a batch, each with a picture that may not be its own: is it?"""

    images: TowerInputs | None  #: the pictures that are not; None: all are
    shown: Tensor  #: which picture goes with each text: a row of the batch's own, or behind them of `images`, int64 [B]
    matches: Tensor  #: 1 where it is the text's own, int64 [B]


@dataclass(frozen=True)
class Batch:
    """Some examples of a split."""

    rows: tuple[int, ...]  #: their positions in the split
    text: TowerInputs
    image: TowerInputs  #: where a text goes with several: all first ones, then all second ones
    targets: Tensor  #: int64 [B]; or a score of each answer, [B, A]
    masked: MaskedTexts | None = None  #: the texts with words hidden
    mismatched: MatchingPairs | None = None
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
            masked = MaskedTexts(tuple(map(move, masked.words)), move(masked.places), move(masked.right))
        if mismatched is not None:
            images = None if mismatched.images is None else map_tensors(mismatched.images, move)
            mismatched = MatchingPairs(images, move(mismatched.shown), move(mismatched.matches))
        return Batch(
            self.rows,
            map_tensors(self.text, move),
            map_tensors(self.image, move),
            move(self.targets),
            masked,
            mismatched,
            None if self.identities is None else move(self.identities),
        )


@dataclass(frozen=True)
class TextMasking:
    """Words of the texts are hidden."""

    masking: Masking
    words: InputSource  #: gives ids and mask; what the tower makes of whole texts may come from elsewhere


@dataclass(frozen=True)
class BatchOptions:
    """What a task wants of its batches beside text, picture and the right answer's number."""

    answers: tuple[str, ...] | None = None  #: targets are scores of all of these
    hiding: TextMasking | None = None
    mismatches: bool = False  #: where a split is judged
    mismatches_in_training: bool = False
    identities: bool = False


@dataclass(frozen=True)
class BatchSeeds:
    """The random numbers of some examples."""

    seeds: Sequence[int] = ()  #: of what is hidden of each text, if anything is
    others: Sequence[int | None] = ()  #: of whom each text is shown the picture; None: its own. Empty: that is no task
    pixels: Sequence[int] = ()  #: seeds of what is done to each example's pictures
    at_least_one: bool = False  #: hide at least one token of each text

    def at(self, part: slice) -> BatchSeeds:
        """Take those of some examples."""
        return BatchSeeds(self.seeds[part], self.others[part], self.pixels[part], self.at_least_one)


@dataclass(frozen=True)
class Collator:
    """Makes batches of examples whose images are there.

    Args:
        text: where their texts' inputs come from.
        extras: what the task wants beside.

    """

    text: InputSource
    extras: BatchOptions

    def make(
        self,
        rows: Sequence[int],
        examples: Sequence[Example],
        image: TowerInputs,
        drawn: BatchSeeds,
        wrong: TowerInputs | None,
    ) -> Batch:
        """Put a batch together.

        Args:
            rows: what to call the examples.
            examples: themselves.
            image: of all their pictures: all first ones, then all second ones.
            drawn: their random numbers.
            wrong: the pictures of others that some are shown with, in their order.

        """
        extras, texts, masked = self.extras, [example.text for example in examples], None
        text = self.text.fetch(texts)
        if extras.hiding is not None:
            words = extras.hiding.words.fetch(texts)
            assert not isinstance(words, Features), "a source of words gives ids and mask"
            masked = extras.hiding.masking.hide(words, drawn.seeds, at_least_one=drawn.at_least_one)
        mismatched = None
        if drawn.others:
            own = torch.tensor([other is None for other in drawn.others])
            behind = len(own) + (~own).cumsum(0) - 1  # rows of the wrong pictures, which come after the right ones
            mismatched = MatchingPairs(wrong, torch.where(own, torch.arange(len(own)), behind), own.long())
        identities = None
        if extras.identities:
            # A number of its own for each picture, whichever process of several numbers it.
            identities = torch.tensor([derive(0, "image", example.image) for example in examples])
        return Batch(tuple(rows), text, image, self._targets(examples), masked, mismatched, identities)

    def _targets(self, examples: Sequence[Example]) -> Tensor:
        if self.extras.answers is None:
            return torch.tensor([example.target for example in examples])
        scores = torch.zeros(len(examples), len(self.extras.answers))
        for row, example in enumerate(examples):
            for answer, score in example.scores:
                scores[row, answer] = score
        return scores


Fetch = Callable[[Sequence[Shown], BatchSeeds], TowerInputs]


def drawn_in_training(extras: BatchOptions, seed: int, step: int, batch: int, images: Sequence[str]) -> BatchSeeds:
    """Draw what a step of so many examples needs, for each place in it.

    Args:
        extras: what the task wants.
        seed: the run's.
        step: from 0.
        batch: examples of the step, over all processes.
        images: their pictures, read where texts are shown with others' pictures; these are places in the step.

    """
    seeds = [derive(seed, "mask", step, place) for place in range(batch)] if extras.hiding else []
    others = draw_mismatches(images, derive(seed, "mismatch", step)) if extras.mismatches_in_training else []
    return BatchSeeds(seeds, others, [derive(seed, "augment", step, place) for place in range(batch)])


class Loader:
    """The batches of one split.

    Args:
        examples: the split's examples.
        text: where their texts' inputs come from.
        image: where their images' inputs come from.
        extras: what the task wants beside. In training it rests on seed and step; elsewhere on the example alone, and
            so is the same in every run.
        augmented: in training, where images come from instead.

    """

    def __init__(
        self,
        examples: Sequence[Example],
        text: InputSource,
        image: InputSource,
        extras: BatchOptions | None = None,
        augmented: AugmentedImages | None = None,
    ) -> None:
        self.examples = examples
        self.text = text
        self.image = image
        self.extras = extras or BatchOptions()
        self.augmented = augmented
        self._maker = Collator(text, self.extras)

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Gather the examples at these positions, as they are judged."""
        extras = self.extras
        seeds = [derive(0, "validation", "mask", row) for row in rows] if extras.hiding else []
        others = [self._others[row] for row in rows] if extras.mismatches else []
        return self._batch(rows, BatchSeeds(seeds, others, at_least_one=True), self._as_they_are)

    def _batch(self, rows: Sequence[int], drawn: BatchSeeds, fetch: Fetch) -> Batch:
        """Gather examples; `drawn.others` are positions in the split."""
        chosen = [self.examples[row] for row in rows]
        pictures = zip(*(example.images for example in chosen), strict=True)
        keys = [(key, row, number) for number, each in enumerate(pictures) for row, key in enumerate(each)]
        wrong = [(self.examples[o].image, row, -1) for row, o in enumerate(drawn.others) if o is not None]
        return self._maker.make(rows, chosen, fetch(keys, drawn), drawn, fetch(wrong, drawn) if wrong else None)

    def _as_they_are(self, pictures: Sequence[Shown], drawn: BatchSeeds) -> TowerInputs:  # noqa: ARG002 - nothing is drawn
        return self.image.fetch([key for key, _, _ in pictures])

    def _augmented(self, pictures: Sequence[Shown], drawn: BatchSeeds) -> TowerInputs:
        assert self.augmented is not None, "chosen by who knows"
        seeds = [derive(drawn.pixels[row], number) for _, row, number in pictures]
        return self.augmented.fetch([key for key, _, _ in pictures], seeds)

    @cached_property
    def _others(self) -> list[int | None]:
        """Choose, once for all, which text is shown with another's picture where nothing is learnt."""
        return draw_mismatches([example.image for example in self.examples], derive(0, "validation", "mismatch"))

    def steps(
        self, seed: int, batch: int, micro: int, start: int = 0, ranks: Ranks = ALL
    ) -> Iterator[tuple[Batch, ...]]:
        """Give the micro-batches of every optimiser step from `start` on, without end.

        An epoch has ⌊examples / batch⌋ steps; what remains is another remainder in each epoch. What is drawn for an
        example depends on its place in the step, not on the process that takes it.

        Args:
            seed: the run's.
            batch: examples of a step, over all processes.
            micro: examples in one forward pass of one process.
            start: the first step, from 0.
            ranks: which process's share.

        Raises:
            UserError: there are fewer examples than one batch.

        """
        for step, rows in enumerate(training_rows(len(self.examples), seed, batch, start), start):
            drawn = drawn_in_training(self.extras, seed, step, batch, [self.examples[row].image for row in rows])
            drawn = replace(drawn, others=[None if other is None else rows[other] for other in drawn.others])
            fetch = self._as_they_are if self.augmented is None else self._augmented
            yield tuple(self._batch(rows[part], drawn.at(part), fetch) for part in ranks.parts(batch, micro))

    def passes(self, batch: int, rows: Iterable[int] | None = None) -> list[list[int]]:
        """Arrange all positions (or `rows`) in batches, texts of similar length together to save padding."""
        chosen = sorted(
            range(len(self.examples)) if rows is None else rows, key=lambda row: (len(self.examples[row].text), row)
        )
        return [chosen[at : at + batch] for at in range(0, len(chosen), batch)]

    def once(self, batch: int, rows: Iterable[int] | None = None) -> Iterator[Batch]:
        """Give every example (or those at `rows`) exactly once, see `passes`."""
        return map(self.batch, self.passes(batch, rows))


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


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Fetch the next item in a thread of its own while the last one is in use: hides reading behind an accelerator."""
    with ThreadPoolExecutor(1, thread_name_prefix="mtlab-loader") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
