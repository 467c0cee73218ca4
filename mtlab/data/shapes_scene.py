"""What stands in a picture of the shapes world, and where.

Lengths are shares of the picture's side; y grows downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from mtlab.data.shapes_dice import Dice

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle", "star")
REACH = {"circle": 1.13, "square": 1.36, "triangle": 1.6, "star": 1.6}  #: circumradius of a shape of size 1
BORDER = 0.02  #: free ground at the picture's edges


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape."""

    colour: str
    shape: str
    size: float  #: half the side of a square of about the same area
    x: float = 0.0
    y: float = 0.0

    @property
    def reach(self) -> float:
        """Distance from the centre to the farthest corner."""
        return self.size * REACH[self.shape]


@dataclass(frozen=True, slots=True)
class Described:
    """A description, by colour, by shape, or by both."""

    colour: str | None = None
    shape: str | None = None

    def fits(self, thing: Thing) -> bool:
        """Tell whether `thing` is such a thing."""
        return self.colour in (None, thing.colour) and self.shape in (None, thing.shape)

    def count(self, things: Sequence[Thing]) -> int:
        """Count such things."""
        return sum(self.fits(thing) for thing in things)


@dataclass(frozen=True)
class Difficulty:
    """How hard it is to see what is asked for."""

    sizes: tuple[float, float]  #: smallest and largest thing
    ratio: float  #: of two things whose sizes are compared, the larger is at least so many times the smaller
    margin: float  #: things set in relation are at least so far apart along their axis
    slope: float  #: … and across it at most this share of it
    gap: float  #: free ground between any two things
    tint: float  #: spread of a colour
    near_misses: float  #: share of absent things whose colour and shape are both there, on other things
    full_names: float  #: share of "the red circle" among names of single things; the others say "the circle"
    amounts: float  #: share of comparisons that are of amounts, not of sizes


DIFFICULTIES = {
    "easy": Difficulty((0.075, 0.135), 1.55, 0.34, 0.4, 0.02, 0.03, 0.0, 0.0, 0.0),
    "medium": Difficulty((0.07, 0.125), 1.4, 0.3, 0.5, 0.02, 0.06, 0.5, 0.0, 0.25),
    "hard": Difficulty((0.055, 0.115), 1.35, 0.24, 0.6, 0.015, 0.1, 1.0, 0.5, 0.5),
}


def place(dice: Dice, things: Sequence[Thing], gap: float) -> list[Thing]:
    """Set the things on free ground, none nearer to another than `gap`; where there is no room, all shrink alike."""
    order = sorted(range(len(things)), key=lambda index: -things[index].reach)  # the largest first
    shrunk = 1.0
    while True:
        placed: dict[int, Thing] = {}
        for index in order:
            it = things[index]
            found = _free(dice, Thing(it.colour, it.shape, it.size * shrunk), list(placed.values()), gap)
            if found is None:
                break
            placed[index] = found
        else:
            return [placed[index] for index in range(len(things))]
        shrunk *= 0.98


def _free(dice: Dice, thing: Thing, placed: Sequence[Thing], gap: float) -> Thing | None:
    """Find a place for one more thing, or give up soon."""
    low = thing.reach + BORDER
    for _ in range(20):
        x, y = dice.between(low, 1 - low), dice.between(low, 1 - low)
        if all(hypot(x - other.x, y - other.y) >= thing.reach + other.reach + gap for other in placed):
            return Thing(thing.colour, thing.shape, thing.size, x, y)
    return None
