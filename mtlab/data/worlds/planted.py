"""`planted`: synthetic experts, of which one known level per modality determines the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset
from mtlab.towers.planted_codes import to_image, to_text


@register_dataset("planted")
class PlantedCodes(Dataset):
    """A code in the text, a code in the image; the answer is their sum modulo `classes`.

    One code alone says nothing about the answer. The towers `planted` turn text and image into levels of noise, of
    which one known level carries the code: a manager must find it. All pairs of codes take turns.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        train: int = option(4000, "training examples", minimum=1, maximum=2**22)
        val: int = option(500, "validation examples", minimum=1, maximum=2**22)
        test: int = option(1000, "test examples", minimum=1, maximum=2**22)
        classes: int = option(4, "codes of each modality, and answers", minimum=2, maximum=256)

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Number of examples of each split."""
        return {split: getattr(config, split) for split in SPLITS}

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:
        """Tell of splits in which one code alone tells something of the answer, as they do not show all pairs."""
        few = [split for split, size in cls.sizes(config).items() if size < config.classes**2]
        if not few:
            return ()
        pairs = f"{config.classes**2:,} pairs of {config.classes} codes"
        return (f"{' and '.join(few)} cannot show all {pairs}: one code alone tells something of the answer",)

    @property
    def answers(self) -> Sequence[str]:
        """The sums, "0" to "classes − 1"."""
        return tuple(map(str, range(self.config.classes)))

    def codes(self, item: int) -> tuple[int, int]:
        """Return the text's and the image's code of an example, given its number: all pairs take turns."""
        text, image = divmod(item % self.config.classes**2, self.config.classes)
        return text, image

    def examples(self, split: Split) -> Sequence[Example]:
        """All examples of a split; numbers run on from split to split, so that no two share their noise."""
        return [self._example(split, item) for item in self._items(split)]

    def image(self, key: str) -> NDArray[np.uint8]:
        """Return the two pixels of an example, named by its number."""
        item = int(key)
        return to_image(self.codes(item)[1], item)

    def _items(self, split: Split) -> Iterable[int]:
        start = SPLITS.index(split) * 2**22
        return range(start, start + self.sizes(self.config)[split])

    def _example(self, split: Split, item: int) -> Example:
        text, image = self.codes(item)
        target = (text + image) % self.config.classes
        return Example(f"{split}/{item}", to_text(text, item), str(item), target, "sum")
