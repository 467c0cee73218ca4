"""`shapes_pairs`: two images of coloured shapes and a statement about both together, true or false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import Example, Split, register_dataset
from mtlab.data.worlds.scenes.statements import FAMILIES, StatementQuad
from mtlab.data.worlds.scenes.world import MOST, ShapesOptions, ShapesWorld, check_choices, parse_image_key

VERSION = 1  #: raise it when the same options give other images or statements
STATEMENTS = 4  #: of a four: two statements, each about two pairs


@register_dataset("shapes_pairs", version=VERSION)
class ShapesPairs(ShapesWorld):
    """Two images of coloured shapes and a statement that is true or false of them together, as in NLVR².

    Each statement stands with two pairs of images, once true and once false, and each pair with a true and a false
    statement: neither words nor images alone tell. Families: something is in `both` images; in just `one` of them,
    where a look at one image alone does not help either; or there is `more` of it in one image than in the other.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ShapesOptions):
        train: int = option(8000, "training statements, two to a pair of pictures", minimum=1, maximum=MOST)
        val: int = option(800, "validation statements", minimum=1, maximum=MOST)
        test: int = option(1600, "test statements", minimum=1, maximum=MOST)
        families: tuple[str, ...] = option(tuple(FAMILIES), "the kinds of statement", choices=tuple(FAMILIES))

        def __post_init__(self) -> None:
            super().__post_init__()
            check_choices(self.families, "families")

    config: Config
    seed_key = ("shapes_pairs", VERSION)
    provides = frozenset({"pairs of images"})

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._kept = lru_cache(maxsize=8)(self._drawn)  # the four images of a four are asked for one after the other

    @property
    def answers(self) -> Sequence[str]:
        """False and true, in the order of NLVR²."""
        return ("False", "True")

    def four(self, split: str, index: int) -> StatementQuad:
        """Return two pairs of images and the two statements about them."""
        return self._kept(split, index)

    def _drawn(self, split: str, index: int) -> StatementQuad:
        return FAMILIES[self.family(index)](self.dice(split, index, "scene"), self.scene_options)

    def make_examples(self, split: Split) -> list[Example]:
        """State two things about each pair, one pair after the other."""
        total = self.sizes(self.config)[split]
        found: list[Example] = []
        for index in range(-(-total // STATEMENTS)):
            four, family = self.four(split, index), self.family(index)
            for pair in range(len(four.pairs)):
                left, right = f"{split}/{index}/{pair}/0", f"{split}/{index}/{pair}/1"
                found += [
                    Example(
                        id=f"{split}/{index}/{pair}/{at}",
                        text=text,
                        image=left,
                        target=int(at == pair),
                        family=family,
                        more_images=(right,),
                        group=f"{split}/{index}",  # its pairs are drawn together, and share their statements
                    )
                    for at, text in enumerate(four.statements)
                ]
        return found[:total]

    def image(self, key: str) -> NDArray[np.uint8]:
        """Draw an image, `split/four/pair/side`, [S, S, 3] RGB; side 0 is the left one.

        Raises:
            KeyError: no such image.

        """
        split, index, pair, side = parse_image_key(key, 4)
        if pair not in ("0", "1") or side not in ("0", "1"):
            raise KeyError(key)
        return self.draw(self.four(split, int(index)).pairs[int(pair)][int(side)], key)
