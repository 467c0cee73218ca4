"""What the four tiles of a picture show, and what is asked about them.

How the answers are kept from leaking:

- *From the image*: of each family, the four tiles of a picture show its four answers, in random order. Who does not
  know which tile is meant gets a quarter right. Where tiles are alike, each family is asked once of a picture: who does
  not know which family is meant gets one question right.
- *From the words*: the tile, its answer and the wording are drawn independently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.tiles import objects
from mtlab.data.worlds.tiles.wordings import PLACES, WORDINGS

FIGURES = ("object", "letter")  #: what stands on a tile: the one or the other
GROUND = ("stripes", "shade", "ring")  #: what all tiles have
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


def draw_scene(dice: Dice, split: str, index: int, families: Sequence[str]) -> TilesScene:
    """Draw the scene of a picture whose tiles differ.

    Every family of the ground is asked once. What stands on the tiles takes turns from picture to picture, and is asked
    about as often as there are such families, of different tiles: so all families have as many questions.

    Args:
        dice: of the scene.
        split: whose pictograms it shows.
        index: of the picture.
        families: that are asked.

    """
    asked = _figures(families)
    figure = asked[index % len(asked)]
    shown = {family: dice.shuffled(ANSWERS[family]) for family in (figure, *GROUND)}
    tiles = [
        _tile(dice, split, {family: order[place] for family, order in shown.items()}) for place in range(len(PLACES))
    ]
    places = {family: dice.shuffled(range(len(PLACES))) for family in shown}
    questions = [
        _ask(dice, family, place, tiles[place])
        for family in families
        if family in shown
        for place in places[family][: len(asked) if family == figure else 1]
    ]
    return TilesScene(tuple(tiles), tuple(questions))


def draw_scene_alike(dice: Dice, split: str, families: Sequence[str]) -> TilesScene:
    """Draw the scene of a picture whose tiles are alike: all that show a family show the same answer of it.

    The ground is the same on all tiles. If letters and objects are both asked, two tiles show letters and two objects.
    Each family is asked once, of a tile that shows it: so who sees the picture alone cannot know what is asked.

    Args:
        dice: of the scene.
        split: whose pictograms it shows.
        families: that are asked.

    """
    asked = _figures(families)
    shown = {family: dice.pick(answers) for family, answers in ANSWERS.items()}
    figures = dice.shuffled([asked[place % len(asked)] for place in range(len(PLACES))])
    tiles = [_tile(dice, split, {family: shown[family] for family in (figure, *GROUND)}) for figure in figures]
    showing = {family: [place for place, tile in enumerate(tiles) if family in tile.answers] for family in families}
    places = {family: dice.pick(found) for family, found in showing.items()}
    return TilesScene(tuple(tiles), tuple(_ask(dice, family, place, tiles[place]) for family, place in places.items()))


def _figures(families: Sequence[str]) -> Sequence[str]:
    return [family for family in FIGURES if family in families] or FIGURES


def _tile(dice: Dice, split: str, answers: Mapping[str, str]) -> Tile:
    return Tile(answers, dice.pick(objects.codes()[answers["object"], split]) if "object" in answers else "")


def _ask(dice: Dice, family: str, place: int, tile: Tile) -> TileQuestion:
    text = dice.pick(WORDINGS[family]).format(place=dice.pick(PLACES[place]))
    return TileQuestion(text, family, place, tile.answers[family])
