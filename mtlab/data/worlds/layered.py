"""`layered`: questions about pictures of four tiles, of which each kind asks for another level of a vision tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset
from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.world import MOST, check_choices, parse_image_key
from mtlab.data.worlds.tiles import objects
from mtlab.data.worlds.tiles.draw import DIFFICULTIES, draw_tiles
from mtlab.data.worlds.tiles.scene import ANSWERS, TilesScene, draw_scene, draw_scene_alike

VERSION = 1  #: raise it when the same options give other images or questions
ALL_ANSWERS = tuple(answer for answers in ANSWERS.values() for answer in answers)


@register_dataset("layered", version=VERSION)
class Layered(Dataset):
    """Pictures of four tiles and questions about one of them, in which the right level depends on the question.

    A tile is a ground of some shade of grey with stripes, a small ring with a gap, and a letter or a pictogram.
    Families ask for each: how dark the ground is and where the ring is open, which low levels of a vision tower know
    best; how the stripes run; which letter it is; what kind of object, which higher levels know best. Pictograms of
    val and test show other things than those of train. Needs the extra `offline`.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        train: int = option(24000, "training examples", minimum=1, maximum=MOST)
        val: int = option(2400, "validation examples", minimum=1, maximum=MOST)
        test: int = option(4800, "test examples", minimum=1, maximum=MOST)
        image_size: int = option(126, "side of a picture, in pixels; best as the tower's", minimum=56, maximum=512)
        families: tuple[str, ...] = option(tuple(ANSWERS), "the kinds of question", choices=tuple(ANSWERS))
        difficulty: Literal["easy", "medium", "hard"] = option("medium", "how small, faint and close are differences")
        tiles: Literal["different", "alike"] = option("different", "show all answers, or the same one")
        seed: int = option(0, "another seed, another world of the same kind", minimum=0)

        def __post_init__(self) -> None:
            check_choices(self.families, "families")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._examples: dict[Split, tuple[Example, ...]] = {}

    @classmethod
    def tells_sides(cls, config: Config) -> bool:  # noqa: ARG003 - tiles have places, whatever is asked
        """Return true: questions name a tile by its place, and stripes and rings have a side."""
        return True

    @classmethod
    def sizes(cls, config: Config) -> Mapping[Split, int]:
        """Return the number of examples of each split."""
        return {split: getattr(config, split) for split in SPLITS}

    @classmethod
    def digest(cls, config: Config) -> str:  # noqa: ARG003 - the options are part of the id by themselves
        """Hash the pictograms, and the renderer's version."""
        return objects.objects_digest()

    @property
    def answers(self) -> Sequence[str]:
        """The answers of all families: the same whatever the options."""
        return ALL_ANSWERS

    def scene(self, split: str, index: int) -> TilesScene:
        """Return what a picture shows and what is asked about it."""
        dice, families = self._dice(split, index, "scene"), self.config.families
        if self.config.tiles == "alike":
            return draw_scene_alike(dice, split, families)
        return draw_scene(dice, split, index, families)

    def examples(self, split: Split) -> Sequence[Example]:
        """Return all examples of a split, picture by picture."""
        if split not in self._examples:
            self._examples[split] = tuple(self._make_examples(split))
        return self._examples[split]

    def image(self, key: str) -> NDArray[np.uint8]:
        """Draw a picture, `split/index`, [S, S, 3] RGB.

        Raises:
            KeyError: no such picture.

        """
        split, index = parse_image_key(key, 2)
        scene, size = self.scene(split, int(index)), self.config.image_size
        dice = self._dice(split, index, "picture")
        return draw_tiles(dice, scene.tiles, self._cut_outs, size, DIFFICULTIES[self.config.difficulty])

    @cached_property
    def _cut_outs(self) -> Mapping[str, Image.Image]:
        return objects.cut_outs()

    def _dice(self, *key: str | int) -> Dice:
        return Dice("layered", VERSION, self.config.seed, *key)

    def _make_examples(self, split: Split) -> list[Example]:
        total = self.sizes(self.config)[split]
        target = {answer: index for index, answer in enumerate(ALL_ANSWERS)}
        found: list[Example] = []
        for index in range(-(-total // len(self.config.families))):
            key = f"{split}/{index}"
            for number, asked in enumerate(self.scene(split, index).questions):
                found.append(Example(f"{key}/{number}", asked.text, key, target[asked.answer], asked.family))
        return found[:total]
