"""Captions of images of coloured shapes: each names everything in the image, and says that it is everything.

A caption is therefore true of the images of exactly these things, and of no other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.scene import COLOURS, SHAPES, Difficulty, Thing, before

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
KINDS = ("list", "place")  #: names all things; names all things and says where two of them stand

#: {0}: all things; {1}: how many they are, as a word
LISTS = (
    "Only {0}.",
    "{0}, and nothing else.",
    "Just {1} shapes: {0}.",
    "The picture shows {0}, {1} things in all.",
    "There are {1} things here: {0}.",
    "{0}, that is all.",
)
#: {0}: one thing, in its place beside another; {1}: all others; {2}: how many they are, as a word
PLACES = (
    "Only {0}{1}.",
    "{0}{1}, and nothing else.",
    "The picture shows {0}{1}, {2} things in all.",
    "{0}{1}, that is all.",
)
NAMED = re.compile(rf"\b(a|{'|'.join(NUMBERS)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})s?\b", re.IGNORECASE)
SIDES = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}


def list_caption(dice: Dice, things: Sequence[Thing]) -> str:
    """Name all things, in one of several wordings."""
    return _sentence(dice.pick(LISTS).format(_join(_name_all(dice, things)), NUMBERS[len(things)]))


def place_caption(dice: Dice, things: Sequence[Thing], level: Difficulty) -> str | None:
    """Name all things, and say where one stands beside another; None where no two stand clearly apart."""
    related = _find_pairs(things, level)
    if not related:
        return None
    one, other, side = dice.pick(related)
    rest = _name_all(dice, [it for it in things if it is not one and it is not other])
    placed = f"{_name(one)} {SIDES[side]} {_name(other)}"
    more = f", with {_join(rest)}" if rest else ""
    return _sentence(dice.pick(PLACES).format(placed, more, NUMBERS[len(things)]))


def named_objects(caption: str) -> tuple[str, ...]:
    """Return all things that a caption names, sorted; a number of them counts as often.

    >>> named_objects("Two red stars and a blue circle, three things in all.")
    ('blue circle', 'red star', 'red star')
    """
    found: list[str] = []
    for number, colour, shape in NAMED.findall(caption.lower()):
        found += [f"{colour} {shape}"] * (1 if number == "a" else NUMBERS.index(number))
    return tuple(sorted(found))


def _name(thing: Thing) -> str:
    return f"a {thing.colour} {thing.shape}"


def _name_all(dice: Dice, things: Sequence[Thing]) -> list[str]:
    """Name the things in random order, twins together."""
    counted = Counter((it.colour, it.shape) for it in things)
    return [
        f"a {colour} {shape}" if number == 1 else f"{NUMBERS[number]} {colour} {shape}s"
        for (colour, shape), number in dice.shuffled(list(counted.items()))
    ]


def _join(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _find_pairs(things: Sequence[Thing], level: Difficulty) -> list[tuple[Thing, Thing, str]]:
    """Find the things without a twin that stand clearly apart, with the side of the first."""
    counted = Counter((it.colour, it.shape) for it in things)
    single = [it for it in things if counted[it.colour, it.shape] == 1]
    found = []
    for one in single:
        for other in single:
            if before(one.x, other.x, one.y, other.y, level):
                found += [(one, other, "left"), (other, one, "right")]
            if before(one.y, other.y, one.x, other.x, level):
                found += [(one, other, "above"), (other, one, "below")]
    return found


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
