"""Drawing a picture of four tiles: striped grounds, and on each a letter or a pictogram, stray strokes and a ring.

Lengths are shares of the picture's side, y grows downwards; shades are 0 for black and 1 for white.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.tiles.letters import Stroke, write
from mtlab.data.worlds.tiles.scene import ANSWERS, Tile

Pixels = NDArray[np.floating[Any]]
GREY = 0.5  #: the shade in the middle of the four
TILT = 0.12  #: how far stripes may stray from their direction, in radians
GRAIN = 0.05  #: noise on every pixel, from lightest to darkest
OPEN = {"above": (0, -1), "right": (1, 0), "below": (0, 1), "left": (-1, 0)}  #: where a ring is open
CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))  #: of a tile; in one of them is the ring
LOOKS = ("grey", "inverted", "pale", "dark on light", "light on dark")  #: ways to draw a pictogram


@dataclass(frozen=True)
class TileDifficulty:
    """How hard it is to see what is asked for."""

    step: float  #: from a shade to the next
    contrast: float  #: of stripes, from their lightest to their darkest
    stripes: tuple[float, float]  #: fewest and most on a tile
    letter: tuple[float, float]  #: smallest and largest
    turn: float  #: how far a letter may be turned, in radians
    pen: tuple[float, float]  #: half the width of a letter's thinnest and thickest strokes
    object: tuple[float, float]  #: smallest and largest pictogram
    looks: int  #: in how many of `LOOKS` pictograms are drawn
    strays: int  #: stray strokes on a tile
    ring: tuple[float, float]  #: smallest and largest radius
    ink: float  #: how much darker or lighter than the ground is a ring


DIFFICULTIES = {
    "easy": TileDifficulty(
        step=0.030, contrast=0.06, stripes=(4, 7), letter=(0.24, 0.32), turn=0.25, pen=(0.012, 0.024),
        object=(0.30, 0.36), looks=1, strays=0, ring=(0.032, 0.040), ink=0.4,
    ),
    "medium": TileDifficulty(
        step=0.012, contrast=0.015, stripes=(6, 14), letter=(0.22, 0.30), turn=pi, pen=(0.008, 0.016),
        object=(0.26, 0.36), looks=5, strays=3, ring=(0.024, 0.030), ink=0.4,
    ),
    "hard": TileDifficulty(
        step=0.008, contrast=0.012, stripes=(8, 18), letter=(0.20, 0.28), turn=pi, pen=(0.006, 0.012),
        object=(0.24, 0.34), looks=5, strays=6, ring=(0.020, 0.026), ink=0.35,
    ),
}  # fmt: skip


def draw_tiles(
    dice: Dice, tiles: tuple[Tile, ...], cut_outs: Mapping[str, Image.Image], size: int, level: TileDifficulty
) -> NDArray[np.uint8]:
    """Draw tiles in reading order, two by two, [size, size, 3] RGB (grey).

    Args:
        dice: what is not part of the scene: places, sizes, hands, noise.
        tiles: what they show.
        cut_outs: of pictograms, by code.
        size: side of the picture in pixels.
        level: of difficulty.

    """
    picture = np.empty((size, size), np.float32)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    halves = slice(0, size // 2), slice(size // 2, size)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, 2)
        rows, columns = halves[row], halves[column]
        canvas = _Canvas(
            picture[rows, columns], at[columns] - 0.25 - 0.5 * column, at[rows, None] - 0.25 - 0.5 * row, size
        )
        _draw_tile(dice, canvas, tile, cut_outs, level)
    picture += np.float32(GRAIN) * (dice.grain(size, size) - np.float32(0.5))
    grey = np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)
    return np.repeat(grey[..., None], 3, 2)


class _Canvas:
    """The pixels of a tile, with their offsets from its middle."""

    def __init__(self, pixels: Pixels, x: Pixels, y: Pixels, size: int) -> None:
        self.pixels, self.x, self.y, self.size = pixels, x, y, size

    def paint(self, distance: Pixels, shade: float) -> None:
        """Paint where `distance` to an edge is negative, with an edge one pixel soft."""
        alpha = np.clip(np.float32(0.5) - distance * np.float32(self.size), 0, 1)
        self.pixels += alpha * (np.float32(shade) - self.pixels)

    def distance(self, stroke: Stroke) -> Pixels:
        """Distance of every pixel to a stroke."""
        (x0, y0), (x1, y1) = stroke
        dx, dy = x1 - x0, y1 - y0
        along = ((self.x - np.float32(x0)) * np.float32(dx) + (self.y - np.float32(y0)) * np.float32(dy)) / np.float32(
            dx * dx + dy * dy + 1e-9
        )
        along = np.clip(along, 0, 1)
        distance: Pixels = np.hypot(
            self.x - np.float32(x0) - along * np.float32(dx), self.y - np.float32(y0) - along * np.float32(dy)
        )
        return distance


def _draw_tile(
    dice: Dice, canvas: _Canvas, tile: Tile, cut_outs: Mapping[str, Image.Image], level: TileDifficulty
) -> None:
    shade = GREY + level.step * (ANSWERS["shade"].index(tile.answers["shade"]) - 1.5)
    _stripe(dice, canvas, shade, tile.answers["stripes"], level)
    for _ in range(level.strays):
        canvas.paint(canvas.distance(_stray(dice)) - np.float32(dice.between(*level.pen)), _ink(dice))
    if tile.pictogram:
        _paste(dice, canvas, cut_outs[tile.pictogram], level)
    else:
        _write(dice, canvas, tile.answers["letter"], level)
    _ring(dice, canvas, shade, tile.answers["ring"], level)


def _stripe(dice: Dice, canvas: _Canvas, shade: float, direction: str, level: TileDifficulty) -> None:
    turn = ANSWERS["stripes"].index(direction) * pi / 4 + dice.between(-TILT, TILT)
    per_length = 2 * dice.between(*level.stripes)
    # "rising" goes up from left to right: the waves of turn 0 lie flat, and y grows downwards
    across = canvas.y * np.float32(cos(turn)) + canvas.x * np.float32(sin(turn))
    wave = np.sin(np.float32(2 * pi * per_length) * across + np.float32(dice.between(0, 2 * pi)))
    canvas.pixels[...] = np.float32(shade) + np.float32(level.contrast / 2) * wave


def _stray(dice: Dice) -> Stroke:
    x, y, turn, half = (
        dice.between(-0.22, 0.22),
        dice.between(-0.22, 0.22),
        dice.between(0, pi),
        dice.between(0.04, 0.09),
    )
    return (x - half * cos(turn), y - half * sin(turn)), (x + half * cos(turn), y + half * sin(turn))


def _ink(dice: Dice) -> float:
    return dice.pick((0.2, 0.8))


def _write(dice: Dice, canvas: _Canvas, letter: str, level: TileDifficulty) -> None:
    x, y, size = dice.between(-0.05, 0.05), dice.between(-0.05, 0.05), dice.between(*level.letter)
    strokes = write(dice, letter, x, y, size, dice.between(-level.turn, level.turn))
    distance = np.minimum.reduce([canvas.distance(stroke) for stroke in strokes])
    canvas.paint(distance - np.float32(dice.between(*level.pen)), _ink(dice))


def _paste(dice: Dice, canvas: _Canvas, cut_out: Image.Image, level: TileDifficulty) -> None:
    side = round(dice.between(*level.object) * canvas.size)
    if dice.chance(0.5):
        cut_out = cut_out.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = cut_out.rotate(dice.between(-25, 25), Image.Resampling.BICUBIC, expand=True)
    small = np.asarray(turned.resize((side, side), Image.Resampling.BOX), np.float32) / np.float32(255)
    grey, alpha = small[..., :3].mean(-1, dtype=np.float32), small[..., 3]
    look = dice.pick(LOOKS[: level.looks])
    if look == "inverted":
        grey = 1 - grey
    elif look == "pale":
        grey = np.float32(0.5) + np.float32(0.3) * (grey - np.float32(0.5))
    elif look in ("dark on light", "light on dark"):  # the outlines alone
        alpha = alpha * (grey < np.float32(0.35))
        grey = np.full_like(grey, 0.1 if look == "dark on light" else 0.9)
    height, width = canvas.pixels.shape
    room = min(height, width) - side
    top, left = (room // 2 + round(dice.between(-0.5, 0.5) * min(room, 0.1 * canvas.size)) for _ in range(2))
    window = canvas.pixels[top : top + side, left : left + side]
    window += alpha * (grey - window)


def _ring(dice: Dice, canvas: _Canvas, shade: float, side: str, level: TileDifficulty) -> None:
    radius = np.float32(dice.between(*level.ring))
    corner = dice.pick(CORNERS)
    x, y = (
        canvas_axis - np.float32(sign * dice.between(0.18, 0.20))
        for canvas_axis, sign in zip((canvas.x, canvas.y), corner, strict=True)
    )
    circle = abs(np.hypot(x, y) - radius) - np.float32(0.22) * radius
    dx, dy = OPEN[side]
    gap = np.maximum(abs(x * dy - y * dx) - np.float32(0.35) * radius, -(x * dx + y * dy))
    canvas.paint(np.maximum(circle, -gap), shade + dice.pick((level.ink, -level.ink)))
