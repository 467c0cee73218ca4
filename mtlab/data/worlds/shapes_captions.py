"""`shapes_captions`: images of coloured shapes, and captions that say all that there is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Example, Split, register_dataset
from mtlab.data.worlds.scenes.captions import KINDS, list_caption, named_objects, place_caption
from mtlab.data.worlds.scenes.scene import COLOURS, SHAPES, Thing, place
from mtlab.data.worlds.scenes.world import MOST, ShapesOptions, ShapesWorld, check_choices, parse_image_key

VERSION = 1  #: raise it when the same options give other images or captions
CAPTIONS = 4  #: of an image
SHARES = {"val": 4, "test": 4}  #: one set of things in so many is shown in this split; training has the rest

Kind = tuple[str, str]  #: colour and shape
Things = tuple[Kind, ...]


@register_dataset("shapes_captions", version=VERSION)
class ShapesCaptions(ShapesWorld):
    """Coloured shapes with four captions an image, for retrieval, pre-training, captioning; each says all there is.

    "Only a red circle and two blue stars." Which things an image shows is drawn without replacement, and no set of
    things is shown in two splits: so a caption is true of one image alone, and no two images share one, until all
    sets have been shown (with two to four things: in 2,414 images of train, 1,207 of val and of test; `mtlab plan`
    tells). Captions of kind `list` name the things; those of kind `place` also say where one stands beside another, if
    two stand clearly apart.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ShapesOptions):
        train: int = option(8000, "training captions, four to a picture", minimum=1, maximum=MOST)
        val: int = option(800, "validation captions", minimum=1, maximum=MOST)
        test: int = option(1600, "test captions", minimum=1, maximum=MOST)
        objects: tuple[int, int] = option((2, 4), "fewest and most shapes in a picture", minimum=2, maximum=5)
        kinds: tuple[str, ...] = option(KINDS, "the kinds of caption, which take turns", choices=KINDS)

        def __post_init__(self) -> None:
            super().__post_init__()
            check_choices(self.kinds, "kinds")

    config: Config

    @classmethod
    def tells_sides(cls, config: Config) -> bool:
        """Return whether there are captions of places."""
        return "place" in config.kinds

    seed_key = ("shapes_captions", VERSION)
    provides = frozenset({"captions", "objects"})

    @classmethod
    def remarks(cls, config: Config) -> Sequence[str]:
        """Tell of images that show the same things as another, whose captions fit both."""
        available = _shared_out(len(sets_of_things(config.objects)))
        remarks = []
        for split in SPLITS:
            pictures = -(-getattr(config, split) // CAPTIONS)
            if pictures > available[split]:
                remarks.append(
                    f"{split} has {pictures:,} pictures of {available[split]:,} sets of things: the rest show "
                    "what another shows, and their captions fit both"
                )
        return remarks

    @property
    def answers(self) -> Sequence[str]:
        """None: captions answer nothing."""
        return ()

    @cached_property
    def _sets(self) -> dict[str, list[Things]]:
        """The sets of things that each split shows, in the order of its images."""
        mixed = self.dice(*self.config.objects, "sets").shuffled(sets_of_things(self.config.objects))
        found: dict[str, list[Things]] = {}
        start = 0
        for split, number in _shared_out(len(mixed)).items():
            found[split] = mixed[start : start + number]
            start += number
        return found

    def scene(self, split: str, index: int) -> list[Thing]:
        """Return what an image shows."""
        dice, these = self.dice(split, index, "scene"), self._sets[split]
        sizes = self.difficulty.sizes
        things = [Thing(*kind, dice.between(*sizes)) for kind in these[index % len(these)]]
        return place(dice, things, self.difficulty.gap)

    def make_examples(self, split: Split) -> list[Example]:
        """Describe one image after the other; an image's captions differ."""
        total = self.sizes(self.config)[split]
        found: list[Example] = []
        for picture in range(-(-total // CAPTIONS)):
            key, things = f"{split}/{picture}", self.scene(split, picture)
            shown = tuple(sorted(f"{it.colour} {it.shape}" for it in things))
            dice, kinds = self.dice(key, "captions"), self.config.kinds
            texts: dict[str, str] = {}  # text → kind
            while len(texts) < CAPTIONS:
                asked = kinds[len(texts) % len(kinds)]
                placed = place_caption(dice, things, self.difficulty) if asked == "place" else None
                texts.setdefault(*((placed, "place") if placed else (list_caption(dice, things), "list")))
            found += [
                Example(f"{key}/{at}", text, key, -1, kind, objects=shown)
                for at, (text, kind) in enumerate(texts.items())
            ]
        return found[:total]

    def named_objects(self, caption: str) -> tuple[str, ...]:
        """Read off a caption which things it names."""
        return named_objects(caption)

    def image(self, key: str) -> NDArray[np.uint8]:
        """Draw an image, `split/index`, [S, S, 3] RGB.

        Raises:
            KeyError: no such image.

        """
        split, index = parse_image_key(key, 2)
        return self.draw(self.scene(split, int(index)), split, index)


def sets_of_things(objects: tuple[int, int]) -> list[Things]:
    """List every way to choose things, twins allowed, of `objects[0]` to `objects[1]`.

    >>> len(sets_of_things((2, 2))), len(sets_of_things((2, 4)))
    (136, 4828)
    """
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    return [
        chosen
        for number in range(objects[0], objects[1] + 1)
        for chosen in combinations_with_replacement(kinds, number)
    ]


def _shared_out(sets: int) -> dict[Split, int]:
    """Share the sets of things out among the splits."""
    kept: dict[Split, int] = {"val": sets // SHARES["val"], "test": sets // SHARES["test"]}
    return {"train": sets - sum(kept.values()), **kept}
