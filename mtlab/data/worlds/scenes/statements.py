"""Pairs of images of coloured shapes, and statements that are true or false of both together.

They come in fours, as in NLVR²: two statements, two pairs of images; each statement is true of one pair and false of
the other, each pair makes one true and one false. So neither statements nor images alone tell. What a statement
names is drawn independently of its truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.sampling import SceneOptions, how_many, various
from mtlab.data.worlds.scenes.scene import COLOURS, SHAPES, Description, Thing, place
from mtlab.data.worlds.scenes.wordings import Wording

STATED = {
    "both": (
        Wording("Both pictures show {a} {0}.", "shape"),
        Wording("There is {a} {0} in each picture.", "thing"),
        Wording("In the left picture and in the right one there is {a} {0}.", "object"),
    ),
    "one": (
        Wording("Only one of the pictures shows {a} {0}.", "shape"),
        Wording("There is {a} {0} in just one picture.", "thing"),
        Wording("Either the left picture or the right one shows {a} {0}, but not both.", "object"),
    ),
    "more": (
        Wording("There are more {0} in the left picture than in the right one.", "shape"),
        Wording("There are fewer {0} in the right picture than in the left one.", "shape"),
        Wording("The left picture shows more {0} than the right one.", "thing"),
    ),
    "fewer": (
        Wording("There are more {0} in the right picture than in the left one.", "shape"),
        Wording("There are fewer {0} in the left picture than in the right one.", "shape"),
        Wording("The right picture shows more {0} than the left one.", "thing"),
    ),
}

ONE = ((True, False), (False, True))  #: what is in just one image is in the left one, or in the right one
Pair = tuple[tuple[Thing, ...], tuple[Thing, ...]]  #: of the left image, of the right one


@dataclass(frozen=True, slots=True)
class StatementQuad:
    """Two pairs of images and two statements: the first is true of the first pair alone, the second of the second."""

    pairs: tuple[Pair, Pair]
    statements: tuple[str, str]


Family = Callable[[Dice, SceneOptions], StatementQuad]


def both(dice: Dice, options: SceneOptions) -> StatementQuad:
    """Say that something is in both images: it is, or it is in one of them."""
    first, second = _two(dice, options)

    def pair(everywhere: Description, once: Description) -> Pair:
        return _pair(dice, options, {everywhere: (True, True), once: dice.pick(ONE)})

    return _four(dice, "both", (first, second), (pair(first, second), pair(second, first)))


def one(dice: Dice, options: SceneOptions) -> StatementQuad:
    """Say that something is in just one image: it is; or it is in both, or in none.

    Who sees one image of the two knows nothing of the truth.
    """
    first, second = _two(dice, options)

    def pair(once: Description, alike: Description) -> Pair:
        there = dice.chance(0.5)
        return _pair(dice, options, {once: dice.pick(ONE), alike: (there, there)})

    return _four(dice, "one", (first, second), (pair(first, second), pair(second, first)))


def more(dice: Dice, options: SceneOptions) -> StatementQuad:
    """Say of which image it shows more of something: it shows more, or fewer."""
    first, second, *_ = dice.shuffled(_single(dice))

    def pair(many: Description, few: Description) -> Pair:
        """Draw a pair of which the left image shows more of one and fewer of the other."""
        while True:
            left, right = (various(dice, options, how_many(dice, options, 2)) for _ in range(2))
            if many.count(left) > many.count(right) and few.count(left) < few.count(right):
                return _placed(dice, options, left), _placed(dice, options, right)

    kind = dice.pick(("more", "fewer"))
    pairs = pair(first, second), pair(second, first)
    return _four(dice, kind, (first, second), pairs if kind == "more" else pairs[::-1], plural=True)


FAMILIES: Mapping[str, Family] = {"both": both, "one": one, "more": more}


def _single(dice: Dice) -> list[Description]:
    if dice.chance(0.5):
        return [Description(colour=colour) for colour in COLOURS]
    return [Description(shape=shape) for shape in SHAPES]


def _two(dice: Dice, options: SceneOptions) -> tuple[Description, Description]:
    """Draw two descriptions of which neither takes in the other."""
    full = [Description(colour, shape) for colour in COLOURS for shape in SHAPES]
    first, second, *_ = dice.shuffled(full if dice.chance(options.difficulty.pairs_in_full) else _single(dice))
    return first, second


def _pair(dice: Dice, options: SceneOptions, where: Mapping[Description, tuple[bool, bool]]) -> Pair:
    """Draw two images that do, or do not, show what is described."""
    left, right = (
        _showing(dice, options, {it: places[picture] for it, places in where.items()}) for picture in range(2)
    )
    return left, right


def _showing(dice: Dice, options: SceneOptions, there: Mapping[Description, bool]) -> tuple[Thing, ...]:
    while True:
        things = various(dice, options, how_many(dice, options, 2))
        if all(bool(it.count(things)) == shown for it, shown in there.items()):
            return _placed(dice, options, things)


def _placed(dice: Dice, options: SceneOptions, things: Sequence[Thing]) -> tuple[Thing, ...]:
    return tuple(place(dice, things, options.difficulty.gap))


def _four(
    dice: Dice, kind: str, about: tuple[Description, Description], pairs: tuple[Pair, Pair], *, plural: bool = False
) -> StatementQuad:
    first, second = (dice.pick(STATED[kind]).ask(it, plural=plural) for it in about)
    return StatementQuad(pairs, (first, second))
