"""Scenes of coloured shapes with one more thing under a lid, and sentences that a look at them cannot all decide.

Through a hole in the lid one sees the colour of what lies under it, never its shape. That is all that is not known: one
thing, of a known colour and of any of the four shapes.

How labels are kept from leaking: each scene has one sentence of each label, before some are denied; the colours and
shapes that a sentence names, its wording, and whether it denies are drawn independently of its label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.sampling import SceneOptions, absent, how_many, various
from mtlab.data.worlds.scenes.scene import COLOURS, LID, SHAPES, Description, Thing, place

LABELS = ("contradiction", "neutral", "entailment")
DENIED = {"contradiction": "entailment", "neutral": "neutral", "entailment": "contradiction"}

#: {colour} and {shape} of what a sentence is about
SAID = {
    "existence": (
        "There is a {colour} {shape}.",
        "A {colour} {shape} lies on the ground.",
        "One of the things is a {colour} {shape}.",
    ),
    "existence, denied": (
        "There is no {colour} {shape}.",
        "No {colour} {shape} lies on the ground.",
        "None of the things is a {colour} {shape}.",
    ),
    "shape": (
        "The {colour} thing is a {shape}.",
        "The thing that is {colour} has the shape of a {shape}.",
    ),
    "shape, denied": (
        "The {colour} thing is not a {shape}.",
        "The thing that is {colour} does not have the shape of a {shape}.",
    ),
    "number": (
        "There are at least two {shape}s.",
        "More than one {shape} lies on the ground.",
    ),
    "number, denied": (
        "There is at most one {shape}.",
        "No more than one {shape} lies on the ground.",
    ),
}


@dataclass(frozen=True, slots=True)
class LidScene:
    """An image's things, the lid last, and the sentences about it with their labels."""

    things: tuple[Thing, ...]
    sentences: tuple[tuple[str, str], ...]

    @property
    def premise(self) -> str:
        """What the image shows, in words."""
        *seen, lid = self.things
        return (
            f"There are {', '.join(f'a {it.colour} {it.shape}' for it in seen)} and something {lid.colour} under a lid."
        )


Family = Callable[[Dice, SceneOptions], LidScene]


def existence(dice: Dice, options: SceneOptions) -> LidScene:
    """Say that something is there: it is seen; the lid may hide it; it is not seen, nor of the colour under the lid."""
    hole = dice.pick(COLOURS)
    while True:
        things = various(dice, options, how_many(dice, options, 2))
        missing = absent(dice, options, things)["both"]
        elsewhere = [it for it in missing if it.colour != hole]
        under = [it for s in SHAPES if not (it := Description(hole, s)).count(things)]
        if elsewhere and under:
            break
    seen = dice.pick(things)
    about = {
        "entailment": Description(seen.colour, seen.shape),
        "neutral": dice.pick(under),
        "contradiction": dice.pick(elsewhere),
    }
    return _scene(dice, options, "existence", things, hole, about)


def shape(dice: Dice, options: SceneOptions) -> LidScene:
    """Say which shape the thing of a colour has: one that is seen, truly and falsely, and the one under the lid."""
    number = min(how_many(dice, options, 2), len(COLOURS) - 1)
    hole, *colours = dice.shuffled(COLOURS)
    things = [Thing(colour, dice.pick(SHAPES), dice.between(*options.difficulty.sizes)) for colour in colours[:number]]
    true, false = dice.pick(things), dice.pick(things)
    about = {
        "entailment": Description(true.colour, true.shape),
        "neutral": Description(hole, dice.pick(SHAPES)),
        "contradiction": Description(false.colour, dice.pick([s for s in SHAPES if s != false.shape])),
    }
    return _scene(dice, options, "shape", things, hole, about)


def number(dice: Dice, options: SceneOptions) -> LidScene:
    """Say that there are two of a shape: two are seen; one is, and the other may lie under the lid; none is."""
    while True:
        things = various(dice, options, how_many(dice, options, 3))
        counted = {s: Description(shape=s).count(things) for s in SHAPES}
        fitting = {
            "entailment": [s for s, count in counted.items() if count >= 2],
            "neutral": [s for s, count in counted.items() if count == 1],
            "contradiction": [s for s, count in counted.items() if count == 0],
        }
        if all(fitting.values()):
            break
    about = {label: Description(shape=dice.pick(shapes)) for label, shapes in fitting.items()}
    return _scene(dice, options, "number", things, dice.pick(COLOURS), about)


FAMILIES: Mapping[str, Family] = {"existence": existence, "shape": shape, "number": number}
FEWEST = {"number": 3}  #: shapes in an image, beside the lid


def _scene(
    dice: Dice, options: SceneOptions, family: str, things: Sequence[Thing], hole: str, about: Mapping[str, Description]
) -> LidScene:
    sentences = []
    for label, it in dice.shuffled(list(about.items())):
        denied = dice.chance(options.difficulty.opposites)
        text = dice.pick(SAID[f"{family}, denied" if denied else family])
        sentences.append((text.format(colour=it.colour, shape=it.shape), DENIED[label] if denied else label))
    lid = Thing(hole, LID, options.difficulty.sizes[1])  # as large as the largest thing, which it covers
    return LidScene(tuple(place(dice, [*things, lid], options.difficulty.gap)), tuple(sentences))
