"""`shapes_entailment`: coloured shapes, one of them under a lid, and sentences that a look at them may not decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import Example, Split, register_dataset
from mtlab.data.worlds.scenes.entailment import FAMILIES, FEWEST, LABELS, LidScene
from mtlab.data.worlds.scenes.scene import COLOURS
from mtlab.data.worlds.scenes.world import (
    MOST,
    ShapesOptions,
    ShapesWorld,
    check_choices,
    check_objects,
    parse_image_key,
)
from mtlab.errors import UserError

VERSION = 1  #: raise it when the same options give other images or sentences


@register_dataset("shapes_entailment", version=VERSION)
class ShapesEntailment(ShapesWorld):
    """Coloured shapes, one of them under a lid with a hole, and sentences: contradicted, left open (neutral), entailed.

    Of what lies under the lid nothing but its colour shows; its shape was never even drawn. "There is a red circle" is
    neutral where none is seen but the hole shows red: no closer look could tell. Each image goes with one sentence of
    each label, before half of the sentences of a hard world are negated; colours, shapes and wordings are drawn without
    regard to the label, so that neither images nor words alone tell more than a third.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ShapesOptions):
        train: int = option(9000, "training sentences, three to a picture", minimum=1, maximum=MOST)
        val: int = option(900, "validation sentences", minimum=1, maximum=MOST)
        test: int = option(1800, "test sentences", minimum=1, maximum=MOST)
        objects: tuple[int, int] = option((2, 4), "fewest and most shapes beside the lid", minimum=2, maximum=5)
        families: tuple[str, ...] = option(tuple(FAMILIES), "the kinds of sentence", choices=tuple(FAMILIES))

        def __post_init__(self) -> None:
            super().__post_init__()
            check_choices(self.families, "families")
            check_objects(self.families, self.objects[1], FEWEST)
            if "shape" in self.families and self.objects[0] >= len(COLOURS):
                problem = (
                    f"shape has pictures of up to {len(COLOURS) - 1} shapes beside the lid, each of another colour"
                )
                raise UserError(f"{problem}: not from {self.objects[0]} on", key="objects")

    config: Config
    seed_key = ("shapes_entailment", VERSION)

    @property
    def answers(self) -> Sequence[str]:
        """The labels, in the order that visual entailment has them."""
        return LABELS

    def scene(self, split: str, index: int) -> LidScene:
        """Return what an image shows and what is said of it."""
        return FAMILIES[self.family(index)](self.dice(split, index, "scene"), self.scene_options)

    def premise(self, key: str) -> str:
        """Say in words what an image shows, lid included: what SNLI-VE calls the premise.

        Raises:
            KeyError: no such image.

        """
        split, index = parse_image_key(key, 2)
        return self.scene(split, int(index)).premise

    def image(self, key: str) -> NDArray[np.uint8]:
        """Draw an image, `split/index`, [S, S, 3] RGB.

        Raises:
            KeyError: no such image.

        """
        split, index = parse_image_key(key, 2)
        return self.draw(self.scene(split, int(index)).things, split, index)

    def make_examples(self, split: Split) -> list[Example]:
        """Go through the sentences image by image."""
        total = self.sizes(self.config)[split]
        found: list[Example] = []
        for picture in range(-(-total // len(LABELS))):
            key, family = f"{split}/{picture}", self.family(picture)
            for number, (text, label) in enumerate(self.scene(split, picture).sentences):
                found.append(Example(f"{key}/{number}", text, key, LABELS.index(label), family))
        return found[:total]
