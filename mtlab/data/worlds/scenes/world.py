"""What all worlds of coloured shapes have in common: options, dice, images drawn on demand, examples kept."""

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


@dataclass(frozen=True, kw_only=True)
class ShapesOptions:
    """Options of every world of coloured shapes; a world says how large its splits are, and adds its own."""

    train: int = option(8000, "training examples", minimum=1)
    val: int = option(800, "validation examples", minimum=1)
    test: int = option(1600, "test examples", minimum=1)
    image_size: int = option(128, "side of a picture, in pixels", minimum=32, maximum=512)
    objects: tuple[int, int] = option((2, 5), "fewest and most shapes in a picture", minimum=2, maximum=6)
    clutter: float = option(0.5, "how busy the ground is, 0 to 1", minimum=0.0, maximum=1.0)
    difficulty: Literal["easy", "medium", "hard"] = option("medium", "how close are sizes, places and names")
    seed: int = option(0, "another seed, another world of the same kind", minimum=0)

    def __post_init__(self) -> None:
        fewest, most = self.objects
        if fewest > most:
            raise UserError(f"at least {fewest} shapes, but at most {most}: swap them", key="objects")


def refuse_odd_choice(names: Sequence[str], key: str) -> None:
    """Refuse a list of kinds of question, caption or the like with nothing in it, or with one twice.

    Raises:
        UserError: says so, at `key`.

    """
    if not names or len(set(names)) < len(names):
        raise UserError("name at least one, and each once", key=key)


def refuse_few_shapes(families: Sequence[str], most: int, fewest: Mapping[str, int]) -> None:
    """Refuse families whose images have more shapes than an image may have.

    Args:
        families: their names; an unknown one is refused by its choices.
        most: shapes in an image.
        fewest: shapes that images of a family have at least.

    Raises:
        UserError: names the family.

    """
    for family in families:
        if most < fewest.get(family, 0):
            raise UserError(f"{family} needs pictures of up to {fewest[family]} shapes, not {most}", key="objects")


class ShapesWorld(Dataset):
    """A world of coloured shapes. Images depend on its name, version, options, split and number alone.

    So a larger split begins with the smaller one. A subclass says what it tells (`told`) and draws its images.
    """

    world: ClassVar[tuple[str, int]]  #: name and version: another version may show and tell something else

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.difficulty = DIFFICULTIES[config.difficulty]
        self.drawn_from = SceneOptions(config.objects, self.difficulty)
        self._examples: dict[Split, tuple[Example, ...]] = {}

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Number of examples of each split."""
        return {split: getattr(config, split) for split in SPLITS}

    def examples(self, split: Split) -> Sequence[Example]:
        """All examples of a split, image by image."""
        if split not in self._examples:
            self._examples[split] = tuple(self.told(split))
        return self._examples[split]

    def told(self, split: Split) -> Sequence[Example]:
        """Make the examples of a split."""
        raise NotImplementedError

    def dice(self, *key: str | int) -> Dice:
        """Return the dice for one draw of this world."""
        return Dice(*self.world, self.config.seed, *key)

    def draw(self, things: Sequence[Thing], *key: str | int) -> NDArray[np.uint8]:
        """Draw things, [S, S, 3] RGB; `key` names the image, for what is not part of the scene."""
        settings = self.config
        tint = self.difficulty.tint
        return render(self.dice(*key, "picture"), things, size=settings.image_size, clutter=settings.clutter, tint=tint)


def parts(key: str, number: int) -> tuple[str, ...]:
    """Take an image's key apart: `split/…` of this many parts, numbers from the second on.

    Raises:
        KeyError: it names no image.

    """
    split, *numbers = key.split("/")
    if split not in SPLITS or len(numbers) != number - 1 or not all(part.isdecimal() for part in numbers):
        raise KeyError(key)
    return split, *numbers
