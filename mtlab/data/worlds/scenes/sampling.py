"""Random draws of a scene's things: how many, of which colours and shapes.

Colours are exchangeable, and so are shapes: no draw favours one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.scene import COLOURS, SHAPES, Description, Difficulty, Thing


@dataclass(frozen=True)
class SceneOptions:
    """The options of a scene."""

    objects: tuple[int, int]  #: fewest and most things in an image
    difficulty: Difficulty


def how_many(dice: Dice, options: SceneOptions, fewest: int) -> int:
    """Draw a number of things, at least `fewest`."""
    return dice.integer(max(fewest, options.objects[0]), options.objects[1])


def various(dice: Dice, options: SceneOptions, number: int) -> list[Thing]:
    """Draw things whose colours and shapes are independent."""
    sizes = options.difficulty.sizes
    return [Thing(dice.pick(COLOURS), dice.pick(SHAPES), dice.between(*sizes)) for _ in range(number)]


def present(things: Sequence[Thing]) -> dict[str, list[Description]]:
    """Describe what is there, by colour, by shape and by both."""
    return {
        "colour": [Description(colour=it.colour) for it in things],
        "shape": [Description(shape=it.shape) for it in things],
        "both": [Description(it.colour, it.shape) for it in things],
    }


def absent(dice: Dice, options: SceneOptions, things: Sequence[Thing]) -> dict[str, list[Description]]:
    """Describe what is not there, likewise; some scenes of harder worlds name near misses alone."""
    colours, shapes = {it.colour for it in things}, {it.shape for it in things}
    both = [Description(c, s) for c in COLOURS for s in SHAPES if not Description(c, s).count(things)]
    if dice.chance(options.difficulty.near_misses):
        both = [it for it in both if it.colour in colours and it.shape in shapes]
    return {
        "colour": [Description(colour=c) for c in COLOURS if c not in colours],
        "shape": [Description(shape=s) for s in SHAPES if s not in shapes],
        "both": both,
    }
