"""Batches of a split's examples, in an order that depends on seed and epoch alone, from any step on.

Shapes: B examples, L text tokens, M image tokens, S tokens of a caption, D_n width of level n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.captions import Captions
from mtlab.data.inputs import AugmentedImages, InputSource, TowerInputs, map_tensors
from mtlab.data.masking import MaskedTexts, Masking
from mtlab.data.matching import draw_negatives
from mtlab.distributed.ranks import SINGLE_RANK, Ranks
from mtlab.errors import UserError
from mtlab.seeding import derive, order
from mtlab.towers.base import Features

T = TypeVar("T")


@dataclass(frozen=True)
class MatchingPairs:
    """Each text of a batch with an image that may be another text's: the input of image-text matching."""

    negatives: TowerInputs | None  #: images of other texts; None: every text has its own
    image_index: Tensor  #: image of each text: a row of the batch's images, followed by those of `negatives`, int64 [B]
    labels: Tensor  #: 1 where the image is the text's own, int64 [B]


@dataclass(frozen=True)
class Batch:
    """Some examples of a split."""

    rows: tuple[int, ...]  #: their positions in the split
    text: TowerInputs
    image: TowerInputs  #: where a text goes with several images: all first ones, then all second ones
    targets: Tensor  #: int64 [B]; or a score of each answer, [B, A]
    masked: MaskedTexts | None = None
    matching: MatchingPairs | None = None
    image_ids: Tensor | None = None  #: equal where the image is the same, int64 [B]
    captions: Tensor | None = None  #: tokens of captions to be learnt, see `Captions.tokens`, int64 [B, S]

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Batch:
        """Move to a device; from pinned memory without waiting for the copy."""
        return self if device.type == "cpu" else self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Move to page-locked memory, from which a copy to the accelerator needs no waiting.

        Cached levels of a batch are views of one buffer, which torch's own `pin_memory` would lock once for each.
        """
        return self._map(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        masked, matching = self.masked, self.matching
        if masked is not None:
            masked = MaskedTexts(tuple(map(change, masked.inputs)), change(masked.positions), change(masked.labels))
        if matching is not None:
            negatives = None if matching.negatives is None else map_tensors(matching.negatives, change)
            matching = MatchingPairs(negatives, change(matching.image_index), change(matching.labels))
        return Batch(
            self.rows,
            map_tensors(self.text, change),
            map_tensors(self.image, change),
            change(self.targets),
            masked,
            matching,
            None if self.image_ids is None else change(self.image_ids),
            None if self.captions is None else change(self.captions),
        )


@dataclass(frozen=True)
class TextMasking:
    """How the texts of a batch are masked."""

    masking: Masking
    tokens: InputSource  #: gives ids and mask; the levels of unmasked texts may come from the expert cache


@dataclass(frozen=True)
class BatchOptions:
    """What a task needs in its batches beside text, image and target."""

    answers: tuple[str, ...] | None = None  #: targets are scores of all of these
    masking: TextMasking | None = None
    negatives: bool = False  #: image-text matching in evaluation
    negatives_in_training: bool = False
    image_ids: bool = False
    captions: Captions | None = None  #: texts are captions to be learnt, and one prompt stands in their place

    def tower_text(self, text: str) -> str:
        """Return what the text tower reads of an example."""
        return text if self.captions is None else self.captions.prompt


@dataclass(frozen=True)
class BatchSeeds:
    """The random numbers of some examples."""

    masking: Sequence[int] = ()  #: a seed of each text; empty: nothing is masked
    negatives: Sequence[int | None] = ()  #: whose image each text is shown with; None: its own. Empty: no matching
    augmentation: Sequence[int] = ()  #: a seed of each example's images
    mask_at_least_one: bool = False  #: mask at least one token of each text

    def at(self, part: slice) -> BatchSeeds:
        """Select those of some examples."""
        return BatchSeeds(self.masking[part], self.negatives[part], self.augmentation[part], self.mask_at_least_one)


@dataclass(frozen=True)
class Collator:
    """Makes batches of examples whose images are loaded.

    Args:
        text: gives the texts' inputs.
        options: what the task needs.

    """

    text: InputSource
    options: BatchOptions

    def collate(
        self,
        rows: Sequence[int],
        examples: Sequence[Example],
        image: TowerInputs,
        seeds: BatchSeeds,
        negatives: TowerInputs | None,
    ) -> Batch:
        """Make a batch.

        Args:
            rows: positions of the examples in the split or in the step.
            examples: the examples.
            image: all their images: all first ones, then all second ones.
            seeds: their random numbers.
            negatives: the images of other examples that some texts are shown with, in their order.

        """
        options, masked = self.options, None
        texts = [options.tower_text(example.text) for example in examples]
        text = self.text.fetch(texts)
        if options.masking is not None:
            tokens = options.masking.tokens.fetch(texts)
            assert not isinstance(tokens, Features), "a source of tokens gives ids and mask"
            masked = options.masking.masking.mask(tokens, seeds.masking, at_least_one=seeds.mask_at_least_one)
        matching = None
        if seeds.negatives:
            own = torch.tensor([other is None for other in seeds.negatives])
            behind = len(own) + (~own).cumsum(0) - 1  # rows of the negatives, which follow the batch's own images
            matching = MatchingPairs(negatives, torch.where(own, torch.arange(len(own)), behind), own.long())
        image_ids = None
        if options.image_ids:  # the same number for an image in whichever process
            image_ids = torch.tensor([derive(0, "image", example.image) for example in examples])
        captions = None if options.captions is None else options.captions.tokens([each.text for each in examples])
        return Batch(tuple(rows), text, image, self._targets(examples), masked, matching, image_ids, captions)

    def _targets(self, examples: Sequence[Example]) -> Tensor:
        if self.options.answers is None:
            return torch.tensor([example.target for example in examples])
        scores = torch.zeros(len(examples), len(self.options.answers))
        for row, example in enumerate(examples):
            for answer, score in example.scores:
                scores[row, answer] = score
        return scores


def training_seeds(options: BatchOptions, seed: int, step: int, batch: int, images: Sequence[str]) -> BatchSeeds:
    """Draw the random numbers of a training step, for each position in it.

    Args:
        options: what the task needs.
        seed: the run's.
        step: from 0.
        batch: examples of the step, over all processes.
        images: the key of each example's image, among which negatives are drawn; they are positions in the step.

    """
    masking = [derive(seed, "mask", step, position) for position in range(batch)] if options.masking else []
    negatives = draw_negatives(images, derive(seed, "mismatch", step)) if options.negatives_in_training else []
    augmentation = [derive(seed, "augment", step, position) for position in range(batch)]
    return BatchSeeds(masking, negatives, augmentation)


@dataclass(eq=False)
class Loader:
    """The batches of one split.

    Random numbers depend on seed and step in training, and on the example alone in evaluation, which is therefore the
    same in every run.
    """

    examples: Sequence[Example]
    text: InputSource  #: of the examples' texts
    image: InputSource  #: of their images
    options: BatchOptions = field(default_factory=BatchOptions)  #: what the task needs
    augmented: AugmentedImages | None = None  #: gives the images' inputs in training instead of `image`

    def __post_init__(self) -> None:
        self._collator = Collator(self.text, self.options)

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Make an evaluation batch of the examples at these positions."""
        options = self.options
        masking = [derive(0, "validation", "mask", row) for row in rows] if options.masking else []
        negatives = [self._negatives[row] for row in rows] if options.negatives else []
        return self._batch(rows, BatchSeeds(masking, negatives, mask_at_least_one=True), None)

    def _batch(self, rows: Sequence[int], seeds: BatchSeeds, augmented: AugmentedImages | None) -> Batch:
        """Make a batch; `seeds.negatives` are positions in the split."""
        examples = [self.examples[row] for row in rows]
        by_number = zip(*(example.images for example in examples), strict=True)
        images = [(key, row, number) for number, keys in enumerate(by_number) for row, key in enumerate(keys)]
        negatives = [(self.examples[o].image, row, -1) for row, o in enumerate(seeds.negatives) if o is not None]

        def fetch(images: Sequence[tuple[str, int, int]]) -> TowerInputs:
            """Fetch images: key, row in the batch, and number among the row's images (−1: a negative)."""
            keys = [key for key, _, _ in images]
            if augmented is None:
                return self.image.fetch(keys)
            return augmented.fetch(keys, [derive(seeds.augmentation[row], number) for _, row, number in images])

        return self._collator.collate(rows, examples, fetch(images), seeds, fetch(negatives) if negatives else None)

    @cached_property
    def _negatives(self) -> list[int | None]:
        """Choose the image that each text is shown with in evaluation: the same in every run."""
        return draw_negatives([example.image for example in self.examples], derive(0, "validation", "mismatch"))

    def steps(
        self, seed: int, batch: int, micro: int, start: int = 0, ranks: Ranks = SINGLE_RANK
    ) -> Iterator[tuple[Batch, ...]]:
        """Yield the micro-batches of every optimiser step from `start` on, without end.

        An epoch has ⌊examples / batch⌋ steps; the remainder is another one in each epoch. The random numbers of an
        example depend on its position in the step, not on the process that takes it.

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
            seeds = training_seeds(self.options, seed, step, batch, [self.examples[row].image for row in rows])
            seeds = replace(seeds, negatives=[None if other is None else rows[other] for other in seeds.negatives])
            yield tuple(
                self._batch(rows[part], seeds.at(part), self.augmented) for part in ranks.micro_batches(batch, micro)
            )

    def evaluation_rows(self, batch: int, rows: Iterable[int] | None = None) -> list[list[int]]:
        """Group all positions (or `rows`) into batches, texts of similar length together to save padding."""
        chosen = sorted(
            range(len(self.examples)) if rows is None else rows, key=lambda row: (len(self.examples[row].text), row)
        )
        return [chosen[at : at + batch] for at in range(0, len(chosen), batch)]

    def evaluation_batches(self, batch: int, rows: Iterable[int] | None = None) -> Iterator[Batch]:
        """Yield every example (or those at `rows`) exactly once, see `evaluation_rows`."""
        return map(self.batch, self.evaluation_rows(batch, rows))


def training_rows(examples: int, seed: int, batch: int, start: int = 0) -> Iterator[list[int]]:
    """Yield the positions of each step's examples from step `start` on; finding the start costs one shuffle.

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
    """Fetch the next item in a thread while the last one is in use, so that loading overlaps with computation."""
    with ThreadPoolExecutor(1, thread_name_prefix="mtlab-loader") as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item
