"""Drawing a scene of the shapes world: antialiased by distance, on ground with texture, pebbles and blades."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import cos, pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.scene import LID, Thing

Pixels = NDArray[np.floating[Any]]
PAINT = {
    "red": (0.86, 0.13, 0.13),
    "green": (0.12, 0.66, 0.22),
    "blue": (0.16, 0.32, 0.90),
    "yellow": (0.97, 0.84, 0.10),
}
STAR = 0.5  #: inner radius of the star, in outer radii
BOARD = (0.38, 0.27, 0.18)  #: paint of a lid
HOLE = 0.5, 0.26  #: half the length and half the width of the arms of a lid's hole, in sizes: every shape covers it
CORNERS = {"triangle": (3, 0.5), "star": (5, STAR), LID: (6, cos(pi / 6))}  #: points; inner radius, in outer radii


def render(dice: Dice, things: Sequence[Thing], *, size: int, clutter: float, tint: float) -> NDArray[np.uint8]:
    """Draw the things on cluttered ground.

    Args:
        dice: what is not part of the scene: ground, clutter, tints, tilts.
        things: drawn in this order; they do not overlap.
        size: side of the image S, in pixels.
        clutter: how busy the ground is, 0 to 1.
        tint: how far a colour may stray from its paint, 0 to 1.

    Returns:
        RGB, [S, S, 3].

    """
    picture = _ground(dice, size, clutter)
    for _ in range(round(40 * clutter)):
        _litter(dice, picture)
    for thing in things:
        _shadow(picture, thing)
    for thing in things:
        _draw(dice, picture, thing, tint)
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)


def _ground(dice: Dice, size: int, clutter: float) -> Pixels:
    """Lay muted ground, with soft patches and grain."""
    tone = np.array([dice.between(0.60, 0.76) for _ in range(3)], np.float32)
    tone = 0.6 * tone.mean(dtype=np.float32) + 0.4 * tone
    coarse = dice.grain(6, 6) - np.float32(0.5)
    spread = _interpolation(size, 6)
    patches = spread @ coarse @ spread.T
    grain = dice.grain(size, size) - np.float32(0.5)
    light = 1 + np.float32(0.1 + 0.3 * clutter) * patches + np.float32(0.04 + 0.08 * clutter) * grain
    return np.asarray(light[..., None] * tone, np.float32)


@lru_cache(maxsize=8)
def _interpolation(size: int, knots: int) -> Pixels:
    """Weights of linear interpolation from `knots` values to `size` pixels, [size, knots]."""
    at = np.linspace(0, knots - 1, size, dtype=np.float32)
    return np.asarray(np.clip(1 - abs(at[:, None] - np.arange(knots, dtype=np.float32)), 0, 1), np.float32)


def _litter(dice: Dice, picture: Pixels) -> None:
    """Drop a pebble or a blade: grey, and far smaller than any thing."""
    x, y, angle = dice.between(0, 1), dice.between(0, 1), dice.between(0, 2 * pi)
    length, width = (dice.between(0.02, 0.06), 0.008) if dice.chance(0.5) else (0.0, dice.between(0.010, 0.020))
    shade = dice.between(0.25, 0.98)
    window = _Window(picture, x, y, length + width)
    if window.empty:
        return
    along = np.clip(window.dx * np.float32(cos(angle)) + window.dy * np.float32(sin(angle)), -length, length)
    distance = np.hypot(window.dx - along * np.float32(cos(angle)), window.dy - along * np.float32(sin(angle))) - width
    window.paint(distance, np.full(3, shade, np.float32), 0.75)


def _shadow(picture: Pixels, thing: Thing) -> None:
    """Darken the ground below and to the right of a thing."""
    offset = 0.15 * thing.size
    window = _Window(picture, thing.x + offset, thing.y + offset, 1.6 * thing.size)
    distance = np.hypot(window.dx, window.dy) - np.float32(1.2 * thing.size)
    alpha = np.clip(-distance / np.float32(0.6 * thing.size), 0, 1)
    window.pixels *= 1 - np.float32(0.3) * alpha[..., None]


def _draw(dice: Dice, picture: Pixels, thing: Thing, tint: float) -> None:
    paint = np.array([channel + dice.between(-tint, tint) for channel in PAINT[thing.colour]], np.float32)
    window = _Window(picture, thing.x, thing.y, thing.reach)
    tilt = dice.between(-0.25, 0.25)
    c, s = np.float32(cos(tilt)), np.float32(sin(tilt))
    dx, dy = c * window.dx + s * window.dy, c * window.dy - s * window.dx
    distance = _distance(thing.shape, dx, dy, thing.reach)
    body = np.array(BOARD, np.float32) if thing.shape == LID else paint
    rim = np.float32(max(0.14 * thing.size, 0.6 * window.pixel))
    window.paint(distance, body * np.float32(0.45))  # a dark rim sets yellow off from light ground
    window.paint(distance + rim, body)
    if thing.shape == LID:
        window.paint(_cross(dx, dy, thing.size), paint)


def _distance(shape: str, dx: Pixels, dy: Pixels, reach: float) -> Pixels:
    """Distance to the edge of a shape around the origin, negative inside; exact but beyond corners."""
    if shape == "circle":
        return np.asarray(np.hypot(dx, dy) - np.float32(reach), np.float32)
    if shape == "square":
        return np.asarray(np.maximum(abs(dx), abs(dy)) - np.float32(reach / 2**0.5), np.float32)
    points, inner = CORNERS[shape]
    # Turn every pixel into the half-wedge between a point and the notch beside it: one straight edge is left.
    wedge = np.float32(pi / points)
    angle = np.abs((np.arctan2(dx, -dy) + wedge) % (2 * wedge) - wedge)
    radius = np.hypot(dx, dy)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    corner_x, corner_y = inner * reach * cos(pi / points), inner * reach * sin(pi / points)
    edge_x, edge_y = corner_x - reach, corner_y
    norm = (edge_x**2 + edge_y**2) ** 0.5
    return np.asarray(
        ((x - np.float32(reach)) * np.float32(edge_y) - y * np.float32(edge_x)) / np.float32(norm), np.float32
    )


def _cross(dx: Pixels, dy: Pixels, size: float) -> Pixels:
    """Distance to the edge of the hole in a lid, negative inside: a cross, so that it is none of the shapes."""
    length, width = np.float32(HOLE[0] * size), np.float32(HOLE[1] * size)
    along, across = (np.maximum(abs(a) - length, abs(b) - width) for a, b in ((dx, dy), (dy, dx)))
    return np.asarray(np.minimum(along, across), np.float32)


class _Window:
    """The part of an image around a point, with each pixel's offset from the point."""

    def __init__(self, picture: Pixels, x: float, y: float, reach: float) -> None:
        size = len(picture)
        self.pixel = 1 / size
        rows, columns = (slice(max(int((at - reach) * size) - 1, 0), int((at + reach) * size) + 2) for at in (y, x))
        self.pixels = picture[rows, columns]
        self.empty = not self.pixels.size
        height, width = self.pixels.shape[:2]
        self.dy = (np.arange(rows.start, rows.start + height, dtype=np.float32)[:, None] + 0.5) / size - np.float32(y)
        self.dx = (np.arange(columns.start, columns.start + width, dtype=np.float32)[None] + 0.5) / size - np.float32(x)

    def paint(self, distance: Pixels, colour: Pixels, opacity: float = 1.0) -> None:
        """Paint where `distance` is negative, with an edge one pixel soft."""
        alpha = np.clip(0.5 - distance / np.float32(self.pixel), 0, 1) * np.float32(opacity)
        self.pixels += alpha[..., None] * (colour - self.pixels)
