"""Several wordings of each question of the shapes world, chosen independently of its answer.

A wording has one noun for things ("the red one", "the red shape"), which keeps the number of different questions small:
towers read each once.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.scene import Description


@dataclass(frozen=True, slots=True)
class Wording:
    """A question with places for things, and the noun for things of any shape."""

    text: str
    noun: str

    def ask(self, *things: Description, plural: bool = False) -> str:
        """Put the things' names in."""
        names = [self.name(thing, plural) for thing in things]
        return self.text.format(*names, a="an" if names[0][0] in "aeiou" else "a")

    def name(self, thing: Description, plural: bool) -> str:
        """Name the thing: "red circle", "circle", "red shape"; with an s if plural."""
        words = " ".join(word for word in (thing.colour, thing.shape or self.noun) if word)
        return words + "s" if plural else words


WORDINGS = {
    "existence": (
        Wording("Is there {a} {0}?", "shape"),
        Wording("Can you see {a} {0} in the picture?", "object"),
        Wording("Does the picture show {a} {0}?", "thing"),
        Wording("Is {a} {0} anywhere on the ground?", "shape"),
    ),
    "count": (
        Wording("How many {0} are there?", "shape"),
        Wording("How many {0} can you see?", "object"),
        Wording("What is the number of {0} in the picture?", "thing"),
        Wording("Count the {0}.", "shape"),
    ),
    "colour": (
        Wording("What colour is the {0}?", "shape"),
        Wording("Which colour does the {0} have?", "shape"),
        Wording("Tell me the colour of the {0}.", "shape"),
        Wording("In which colour is the {0} painted?", "shape"),
    ),
    "colour of several": (
        Wording("What colour are the {0}?", "shape"),
        Wording("Which colour do the {0} have?", "shape"),
        Wording("Tell me the colour of the {0}.", "shape"),
        Wording("In which colour are the {0} painted?", "shape"),
    ),
    "shape": (
        Wording("What shape is the {0}?", "thing"),
        Wording("Which shape does the {0} have?", "object"),
        Wording("Tell me the shape of the {0}.", "object"),
        Wording("Name the shape of the {0}.", "one"),
    ),
    "shape of several": (
        Wording("What shape are the {0}?", "thing"),
        Wording("Which shape do the {0} have?", "object"),
        Wording("Tell me the shape of the {0}.", "object"),
        Wording("Name the shape of the {0}.", "one"),
    ),
    "relation": (
        Wording("Where is the {0}, seen from the {1}?", "one"),
        Wording("The {0} is on which side of the {1}?", "shape"),
        Wording("Where does the {0} lie relative to the {1}?", "thing"),
        Wording("Tell me where the {0} is, as seen from the {1}.", "object"),
    ),
    "middle": (
        Wording("Where is the {0}, seen from the middle?", "one"),
        Wording("The {0} is on which side of the middle?", "shape"),
        Wording("Where does the {0} lie relative to the middle of the picture?", "thing"),
        Wording("Tell me where the {0} is, as seen from the centre of the picture.", "object"),
    ),
    "largest": (
        Wording("Is the {0} the largest of all?", "one"),
        Wording("Is the {0} bigger than everything else?", "shape"),
        Wording("Is the {0} the biggest thing in the picture?", "object"),
    ),
    "smallest": (
        Wording("Is the {0} the smallest of all?", "one"),
        Wording("Is the {0} smaller than everything else?", "shape"),
        Wording("Is the {0} the smallest thing in the picture?", "object"),
    ),
    "larger": (
        Wording("Is the {0} larger than the {1}?", "one"),
        Wording("Is the {0} bigger than the {1}?", "shape"),
        Wording("Is the {0} the larger one, compared with the {1}?", "object"),
    ),
    "smaller": (
        Wording("Is the {0} smaller than the {1}?", "one"),
        Wording("Is the {0} smaller in size than the {1}?", "shape"),
        Wording("Is the {0} the smaller one, compared with the {1}?", "object"),
    ),
    "more": (
        Wording("Are there more {0} than {1}?", "shape"),
        Wording("Do you see more {0} than {1}?", "object"),
    ),
    "fewer": (
        Wording("Are there fewer {0} than {1}?", "shape"),
        Wording("Do you see fewer {0} than {1}?", "object"),
    ),
}


def ask(dice: Dice, kind: str, *things: Description, plural: bool = False) -> str:
    """Ask a question of this kind about these things, in one of its wordings."""
    return dice.pick(WORDINGS[kind]).ask(*things, plural=plural)
