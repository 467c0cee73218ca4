"""What the four tiles of a picture show, and what is asked about them.

How the answers are kept from leaking:

- *From the image*: of each family, the four tiles of a picture show its four answers, in random order. Who does not
  know which tile is meant gets a quarter right.
- *From the words*: the tile, its answer and the wording are drawn independently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.tiles import objects
from mtlab.data.worlds.tiles.wordings import PLACES, WORDINGS

FIGURES = ("object", "letter")  #: what stands on the tiles of a picture: the one or the other
ANSWERS: Mapping[str, Sequence[str]] = {
    "object": tuple(objects.KINDS),
    "letter": ("E", "F", "H", "K"),
    "stripes": ("horizontal", "rising", "vertical", "falling"),
    "shade": ("very dark", "dark", "light", "very light"),
    "ring": ("above", "right", "below", "left"),
}  #: family → its answers


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile: the answer of each family, and the code of its pictogram, "" under a letter."""

    answers: Mapping[str, str]
    pictogram: str


@dataclass(frozen=True, slots=True)
class TileQuestion:
    """A question about a tile."""

    text: str
    family: str
    tile: int
    answer: str


@dataclass(frozen=True, slots=True)
class TilesScene:
    """A picture's four tiles in reading order, and what is asked about them."""

    tiles: tuple[Tile, ...]
    questions: tuple[TileQuestion, ...]


def draw_scene(dice: Dice, split: str, index: int, families: Sequence[str], *, alike: bool = False) -> TilesScene:
    """Draw the scene of a picture.

    Every family of the ground is asked once. What stands on the tiles takes turns from picture to picture, and is asked
    about as often as there are such families, of different tiles: so all families have as many questions.

    Args:
        dice: of the scene.
        split: whose pictograms it shows.
        index: of the picture.
        families: that are asked.
        alike: all tiles show one answer of each family, so that nobody needs to find the tile that is meant.

    """
    asked = [family for family in FIGURES if family in families]
    figure = (asked or FIGURES)[index % len(asked or FIGURES)]
    shown = {family: dice.shuffled(ANSWERS[family]) for family in (figure, "stripes", "shade", "ring")}
    if alike:
        shown = {family: [order[0]] * len(order) for family, order in shown.items()}
    tiles = []
    for place in range(len(PLACES)):
        answers = {family: order[place] for family, order in shown.items()}
        tiles.append(Tile(answers, dice.pick(objects.codes()[answers["object"], split]) if figure == "object" else ""))
    places = {family: dice.shuffled(range(len(PLACES))) for family in shown}
    questions = [
        _ask(dice, family, place, tiles[place])
        for family in families
        if family in shown
        for place in places[family][: len(asked) if family == figure else 1]
    ]
    return TilesScene(tuple(tiles), tuple(questions))


def _ask(dice: Dice, family: str, place: int, tile: Tile) -> TileQuestion:
    text = dice.pick(WORDINGS[family]).format(place=dice.pick(PLACES[place]))
    return TileQuestion(text, family, place, tile.answers[family])
