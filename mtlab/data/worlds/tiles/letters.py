"""Letters of straight strokes, each drawn in a hand of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, sin

from mtlab.data.worlds.scenes.dice import Dice

Point = tuple[float, float]
Stroke = tuple[Point, Point]

#: Letter → its strokes, between points of a box of side 1 around the origin; y grows downwards.
STROKES: Mapping[str, Sequence[Stroke]] = {
    "E": (
        ((-0.4, -0.5), (-0.4, 0.5)),
        ((-0.4, -0.5), (0.4, -0.5)),
        ((-0.4, 0.0), (0.25, 0.0)),
        ((-0.4, 0.5), (0.4, 0.5)),
    ),
    "F": (((-0.4, -0.5), (-0.4, 0.5)), ((-0.4, -0.5), (0.4, -0.5)), ((-0.4, 0.0), (0.25, 0.0))),
    "H": (((-0.4, -0.5), (-0.4, 0.5)), ((0.4, -0.5), (0.4, 0.5)), ((-0.4, 0.0), (0.4, 0.0))),
    "K": (((-0.4, -0.5), (-0.4, 0.5)), ((0.4, -0.5), (-0.4, 0.05)), ((-0.15, -0.08), (0.4, 0.5))),
}
WOBBLE = 0.06  #: how far a point may stray, along each axis
SLANT = 0.25  #: how far the upper edge may lean to the side
WIDTH = (0.8, 1.1)  #: narrowest and widest, of 1


def write(dice: Dice, letter: str, x: float, y: float, size: float, turn: float) -> list[Stroke]:
    """Return the strokes of a letter in a hand of its own: around (x, y), of a height, turned by so many radians."""
    width, slant = dice.between(*WIDTH), dice.between(-SLANT, SLANT)
    moved: dict[Point, Point] = {}
    for point in (point for stroke in STROKES[letter] for point in stroke):
        if point not in moved:  # where strokes meet they still meet
            across = (point[0] + dice.between(-WOBBLE, WOBBLE)) * width
            down = point[1] + dice.between(-WOBBLE, WOBBLE)
            across -= slant * down
            moved[point] = (
                x + size * (across * cos(turn) - down * sin(turn)),
                y + size * (across * sin(turn) + down * cos(turn)),
            )
    return [(moved[start], moved[end]) for start, end in STROKES[letter]]
