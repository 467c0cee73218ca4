"""`shapes`: a procedural world of coloured shapes and questions about them, asked as classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import Example, Split, register_dataset
from mtlab.data.worlds.scenes.questions import ANSWERS, FAMILIES, FEWEST, QUESTIONS, ShapesScene
from mtlab.data.worlds.scenes.world import (
    MOST,
    ShapesOptions,
    ShapesWorld,
    check_choices,
    check_objects,
    parse_image_key,
)

VERSION = 1  #: raise it when the same options give other images or questions


@register_dataset("shapes", version=VERSION)
class Shapes(ShapesWorld):
    """Coloured shapes on cluttered ground, with six families of questions balanced against blind guessing.

    Each image belongs to one family and is asked four questions whose answers are spread evenly, so that neither
    words nor images alone tell more than the family's commonest answer. Images depend on version, options, split
    and index alone: a larger training set begins with the smaller one.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ShapesOptions):
        train: int = option(24000, "training examples, four to a picture", minimum=1, maximum=MOST)
        val: int = option(2400, "validation examples", minimum=1, maximum=MOST)
        test: int = option(4800, "test examples", minimum=1, maximum=MOST)
        families: tuple[str, ...] = option(tuple(FAMILIES), "the kinds of question", choices=tuple(FAMILIES))

        def __post_init__(self) -> None:
            super().__post_init__()
            check_choices(self.families, "families")
            check_objects(self.families, self.objects[1], FEWEST)

    config: Config

    seed_key = ("shapes", 2)  # as the published results were drawn

    @classmethod
    def tells_sides(cls, config: Config) -> bool:
        """Return whether spatial relations are among the families."""
        return "spatial" in config.families

    @property
    def answers(self) -> Sequence[str]:
        """The answers of all families: the same whatever the options."""
        return ANSWERS

    def scene(self, split: str, index: int) -> ShapesScene:
        """Return what an image shows and what is asked about it."""
        return FAMILIES[self.family(index)](self.dice(split, index, "scene"), self.scene_options)

    def image(self, key: str) -> NDArray[np.uint8]:
        """Draw an image, `split/index`, [S, S, 3] RGB.

        Raises:
            KeyError: no such image.

        """
        split, index = parse_image_key(key, 2)
        return self.draw(self.scene(split, int(index)).things, split, index)

    def make_examples(self, split: Split) -> list[Example]:
        """Ask about one image after the other."""
        total = self.sizes(self.config)[split]
        target = {answer: index for index, answer in enumerate(ANSWERS)}
        found = []
        for picture in range(-(-total // QUESTIONS)):
            family, key = self.family(picture), f"{split}/{picture}"
            for number, asked in enumerate(self.scene(split, picture).questions):
                found.append(Example(f"{key}/{number}", asked.text, key, target[asked.answer], family))
        return found[:total]
