"""`shapes`: a procedural world of coloured shapes and questions about them, asked as classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset
from mtlab.data.shapes_dice import Dice
from mtlab.data.shapes_questions import ANSWERS, FAMILIES, FEWEST, QUESTIONS, Scene, World
from mtlab.data.shapes_render import render
from mtlab.data.shapes_scene import DIFFICULTIES
from mtlab.errors import UserError

VERSION = 2  #: raise it when the same options give other pictures or questions


@register_dataset("shapes", version=VERSION)
class Shapes(Dataset):
    """Coloured shapes on cluttered ground, with six families of questions balanced against blind guessing.

    Each picture belongs to one family and is asked four questions whose answers are spread evenly, so that neither
    words nor pictures alone tell more than the family's commonest answer. Pictures depend on version, options, split
    and index alone: a larger training set begins with the smaller one.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        train: int = option(24000, "training examples, four to a picture", minimum=1)
        val: int = option(2400, "validation examples", minimum=1)
        test: int = option(4800, "test examples", minimum=1)
        image_size: int = option(128, "side of a picture, in pixels", minimum=32, maximum=512)
        objects: tuple[int, int] = option((2, 5), "fewest and most shapes in a picture", minimum=2, maximum=6)
        clutter: float = option(0.5, "how busy the ground is, 0 to 1", minimum=0.0, maximum=1.0)
        difficulty: Literal["easy", "medium", "hard"] = option("medium", "how close are sizes, places and names")
        families: tuple[str, ...] = option(tuple(FAMILIES), "the kinds of question", choices=tuple(FAMILIES))
        seed: int = option(0, "another seed, another world of the same kind", minimum=0)

        def __post_init__(self) -> None:
            fewest, most = self.objects
            if fewest > most:
                raise UserError(f"at least {fewest} shapes, but at most {most}: swap them", key="objects")
            if not self.families or len(set(self.families)) < len(self.families):
                raise UserError("name at least one family, and each once", key="families")
            for family in self.families:
                if most < FEWEST.get(family, 0):  # an unknown family is refused by its choices
                    raise UserError(f"{family} questions need up to {FEWEST[family]} shapes, not {most}", key="objects")

    config: Config

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._world = World(self.config.objects, DIFFICULTIES[self.config.difficulty])
        self._examples: dict[Split, tuple[Example, ...]] = {}

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Number of examples of each split."""
        return {split: getattr(config, split) for split in SPLITS}

    @property
    def answers(self) -> Sequence[str]:
        """The answers of all families: the same whatever the options."""
        return ANSWERS

    def family(self, index: int) -> str:
        """Return the family of the picture of this index: they take turns."""
        return self.config.families[index % len(self.config.families)]

    def scene(self, split: str, index: int) -> Scene:
        """Return what a picture shows and what is asked about it."""
        dice = Dice("shapes", VERSION, self.config.seed, split, index, "scene")
        return FAMILIES[self.family(index)](dice, self._world)

    def examples(self, split: Split) -> Sequence[Example]:
        """All examples of a split, picture by picture."""
        if split not in self._examples:
            self._examples[split] = tuple(self._asked(split))
        return self._examples[split]

    def image(self, key: str) -> NDArray[np.uint8]:
        """Draw a picture, `split/index`, [S, S, 3] RGB.

        Raises:
            KeyError: no such picture.

        """
        split, _, index = key.partition("/")
        if split not in SPLITS or not index.isdecimal():
            raise KeyError(key)
        dice = Dice("shapes", VERSION, self.config.seed, split, index, "picture")
        things = self.scene(split, int(index)).things
        settings = self.config
        return render(
            dice, things, size=settings.image_size, clutter=settings.clutter, tint=self._world.difficulty.tint
        )

    def _asked(self, split: Split) -> list[Example]:
        total = self.sizes(self.config)[split]
        target = {answer: index for index, answer in enumerate(ANSWERS)}
        found = []
        for picture in range(-(-total // QUESTIONS)):
            family, key = self.family(picture), f"{split}/{picture}"
            for number, asked in enumerate(self.scene(split, picture).questions):
                found.append(Example(f"{key}/{number}", asked.text, key, target[asked.answer], family))
        return found[:total]
