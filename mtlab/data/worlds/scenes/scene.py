"""What stands in an image of the shapes world, and where.

Lengths are shares of the image's side; y grows downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot

from mtlab.data.worlds.scenes.dice import Dice

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle", "star")
LID = "lid"  #: a board with a hole in it, on top of a thing of which nothing but its colour can be seen
REACH = {"circle": 1.13, "square": 1.36, "triangle": 1.6, "star": 1.6, LID: 1.9}  #: circumradius at size 1
BORDER = 0.02  #: free ground at the image's edges


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape; or the lid on one, whose own shape is not even drawn."""

    colour: str
    shape: str  #: one of `SHAPES`, or `LID`
    size: float  #: half the side of a square of about the same area
    x: float = 0.0
    y: float = 0.0

    @property
    def reach(self) -> float:
        """Distance from the centre to the farthest corner."""
        return self.size * REACH[self.shape]


@dataclass(frozen=True, slots=True)
class Description:
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
    full_names: float  #: share of scenes that name "the red circle" where others say "the circle" or "the red one"
    middles: float  #: share of spatial scenes that relate things to the image's middle; the others, to each other
    extremes: float  #: share of comparisons with all other things ("the largest")
    amounts: float  #: share of comparisons of amounts; the rest compare two things' sizes
    opposites: float  #: share of comparisons that ask for the smaller or the fewer, and of sentences that deny
    pairs_in_full: float  #: share of statements about pairs of images that name colour and shape, not one of them


DIFFICULTIES = {
    "easy": Difficulty((0.070, 0.135), 1.7, 0.32, 0.40, 0.02, 0.03, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0),
    "medium": Difficulty((0.065, 0.125), 1.6, 0.30, 0.50, 0.02, 0.05, 0.5, 0.0, 0.7, 0.6, 0.2, 0.0, 0.5),
    "hard": Difficulty((0.055, 0.115), 1.3, 0.24, 0.60, 0.015, 0.08, 1.0, 0.5, 0.2, 0.2, 0.4, 0.5, 0.8),
}


Zone = Callable[[float, float], bool]  #: is this point a place for the thing?


def place(dice: Dice, things: Sequence[Thing], gap: float, zones: Mapping[int, Zone] | None = None) -> list[Thing]:
    """Set the things on free ground, none nearer to another than `gap`; where there is no room, all shrink alike.

    Args:
        dice: draws the places.
        things: what is to be set down.
        gap: free ground between any two.
        zones: where some of them, by index, have to stand.

    """
    zones = zones or {}
    # those with a zone first, then the largest
    order = sorted(range(len(things)), key=lambda index: (index not in zones, -things[index].reach))
    shrunk = 1.0
    while True:
        placed: dict[int, Thing] = {}
        for index in order:
            it = things[index]
            smaller = Thing(it.colour, it.shape, it.size * shrunk)
            found = _free(dice, smaller, list(placed.values()), gap, zones.get(index))
            if found is None:
                break
            placed[index] = found
        else:
            return [placed[index] for index in range(len(things))]
        shrunk *= 0.98


def _free(dice: Dice, thing: Thing, placed: Sequence[Thing], gap: float, zone: Zone | None) -> Thing | None:
    """Find a place for one more thing, or give up soon."""
    low = thing.reach + BORDER
    for _ in range(40 if zone else 20):
        x, y = dice.between(low, 1 - low), dice.between(low, 1 - low)
        if zone is not None and not zone(x, y):
            continue
        if all(hypot(x - other.x, y - other.y) >= thing.reach + other.reach + gap for other in placed):
            return Thing(thing.colour, thing.shape, thing.size, x, y)
    return None


def before(low: float, high: float, across: float, across_other: float, level: Difficulty, share: float = 1.0) -> bool:
    """Tell whether one point is clearly before another along an axis; `share`: of the margin that is asked for."""
    return high - low >= share * level.margin and abs(across - across_other) <= level.slope * (high - low)


def sides(level: Difficulty) -> Mapping[str, Zone]:
    """Say where things stand that are clearly left of, right of, above or below the image's middle."""
    share = 0.75  # there is half as much room on either side of the middle as between two things
    return {
        "left": lambda x, y: before(x, 0.5, y, 0.5, level, share),
        "right": lambda x, y: before(0.5, x, y, 0.5, level, share),
        "above": lambda x, y: before(y, 0.5, x, 0.5, level, share),
        "below": lambda x, y: before(0.5, y, x, 0.5, level, share),
    }
