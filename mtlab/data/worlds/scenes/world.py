"""The base of all worlds of coloured shapes: options, random draws, images drawn on demand, cached examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split
from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.render import render
from mtlab.data.worlds.scenes.sampling import SceneOptions
from mtlab.data.worlds.scenes.scene import DIFFICULTIES, Thing
from mtlab.errors import UserError

MOST = 2**20  #: examples of a split: all are made when a study is planned, a million in a minute or two


@dataclass(frozen=True, kw_only=True)
class ShapesOptions:
    """Options of every world of coloured shapes; a world says how large its splits are, and adds its own."""

    train: int = option(8000, "training examples", minimum=1, maximum=MOST)
    val: int = option(800, "validation examples", minimum=1, maximum=MOST)
    test: int = option(1600, "test examples", minimum=1, maximum=MOST)
    image_size: int = option(128, "side of a picture, in pixels", minimum=32, maximum=512)
    objects: tuple[int, int] = option((2, 5), "fewest and most shapes in a picture", minimum=2, maximum=6)
    clutter: float = option(0.5, "how busy the ground is, 0 to 1", minimum=0.0, maximum=1.0)
    difficulty: Literal["easy", "medium", "hard"] = option("medium", "how close are sizes, places and names")
    seed: int = option(0, "another seed, another world of the same kind", minimum=0)

    def __post_init__(self) -> None:
        fewest, most = self.objects
        if fewest > most:
            raise UserError(f"at least {fewest} shapes, but at most {most}: swap them", key="objects")


def check_choices(names: Sequence[str], key: str) -> None:
    """Check that a list of kinds of question, caption or the like is not empty and has no duplicates.

    Raises:
        UserError: it does not; names `key`.

    """
    if not names or len(set(names)) < len(names):
        raise UserError("name at least one, and each once", key=key)


def check_objects(families: Sequence[str], most: int, fewest: Mapping[str, int]) -> None:
    """Check that images may have as many shapes as each family needs.

    Args:
        families: their names.
        most: shapes in an image.
        fewest: family → shapes that its images need.

    Raises:
        UserError: a family needs more.

    """
    for family in families:
        if most < fewest.get(family, 0):
            raise UserError(f"{family} needs pictures of up to {fewest[family]} shapes, not {most}", key="objects")


class ShapesWorld(Dataset):
    """A world of coloured shapes. Images depend on seed key, options, split and number alone.

    A larger split therefore begins with the smaller one. A subclass implements `make_examples` and `image`.
    """

    seed_key: ClassVar[tuple[str, int]]  #: part of every random draw's seed

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.difficulty = DIFFICULTIES[config.difficulty]
        self.scene_options = SceneOptions(config.objects, self.difficulty)
        self._examples: dict[Split, tuple[Example, ...]] = {}

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Return the number of examples of each split."""
        return {split: getattr(config, split) for split in SPLITS}

    def examples(self, split: Split) -> Sequence[Example]:
        """Return all examples of a split, image by image."""
        if split not in self._examples:
            self._examples[split] = tuple(self.make_examples(split))
        return self._examples[split]

    def make_examples(self, split: Split) -> Sequence[Example]:
        """Make the examples of a split."""
        raise NotImplementedError

    def family(self, index: int) -> str:
        """Return the family of the scene of this index: families take turns."""
        families: Sequence[str] = self.config.families
        return families[index % len(families)]

    def dice(self, *key: str | int) -> Dice:
        """Return the random draws of one purpose."""
        return Dice(*self.seed_key, self.config.seed, *key)

    def draw(self, things: Sequence[Thing], *key: str | int) -> NDArray[np.uint8]:
        """Render things, [S, S, 3] RGB; `key` names the image, for random details outside the scene."""
        settings = self.config
        tint = self.difficulty.tint
        return render(self.dice(*key, "picture"), things, size=settings.image_size, clutter=settings.clutter, tint=tint)


def parse_image_key(key: str, number: int) -> tuple[str, ...]:
    """Split an image's key `split/…` into `number` parts, numbers from the second on.

    Raises:
        KeyError: it names no image.

    """
    split, *numbers = key.split("/")
    if split not in SPLITS or len(numbers) != number - 1 or not all(part.isdecimal() for part in numbers):
        raise KeyError(key)
    return split, *numbers
