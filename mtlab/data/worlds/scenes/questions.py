"""The six families of questions of the shapes world: each builds a scene and four questions about it.

How the answers are kept from leaking:

- *From the image*: each scene is asked questions whose answers are spread evenly over the family's answers (four
  ways: each once; yes and no: twice each). Whoever sees only the image gets exactly the majority's share right.
- *From the words*: which answer a question gets, its wording, and which colours and shapes it names are drawn
  independently; colours are exchangeable, and so are shapes.

An image that shows three colours rules out the fourth as an answer to "what colour is …?": so images of the colour
and shape families show all four. Sizes and places are drawn without regard to colour and shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.sampling import SceneOptions, absent, how_many, present, various
from mtlab.data.worlds.scenes.scene import COLOURS, SHAPES, Description, Thing, before, place, sides
from mtlab.data.worlds.scenes.wordings import ask

QUESTIONS = 4  #: per scene


@dataclass(frozen=True, slots=True)
class ShapesQuestion:
    """A question and its answer."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class ShapesScene:
    """An image's things and what is asked about them."""

    things: tuple[Thing, ...]
    questions: tuple[ShapesQuestion, ...]


Family = Callable[[Dice, SceneOptions], ShapesScene]


def existence(dice: Dice, options: SceneOptions) -> ShapesScene:
    """Ask what is there: "Is there a red circle?"; twice yes, twice no."""
    kinds = [dice.pick(("colour", "shape", "both", "both")) for _ in range(QUESTIONS // 2)]
    while True:
        things = various(dice, options, how_many(dice, options, 2))
        there, missing = present(things), absent(dice, options, things)
        if all(there[kind] and missing[kind] for kind in kinds):
            break
    questions = []
    for kind in kinds:
        questions.append(ShapesQuestion(ask(dice, "existence", dice.pick(there[kind])), "yes"))
        questions.append(ShapesQuestion(ask(dice, "existence", dice.pick(missing[kind])), "no"))
    return _scene(dice, options, things, questions)


def count(dice: Dice, options: SceneOptions) -> ShapesScene:
    """Ask how many: "How many circles are there?"; the answers 0, 1, 2 and 3 once each."""
    kinds = dice.shuffled(("colour", "colour", "shape", "shape"))
    single = {"colour": [Description(colour=c) for c in COLOURS], "shape": [Description(shape=s) for s in SHAPES]}
    while True:
        things = various(dice, options, how_many(dice, options, 3))
        asked = [[it for it in single[kind] if it.count(things) == number] for number, kind in enumerate(kinds)]
        if all(asked):
            break
    chosen = [dice.pick(these) for these in asked]
    questions = [ShapesQuestion(ask(dice, "count", it, plural=True), str(number)) for number, it in enumerate(chosen)]
    return _scene(dice, options, things, questions)


def colour(dice: Dice, options: SceneOptions) -> ShapesScene:
    """Ask for the colour of a shape: "What colour is the circle?"; each colour once."""
    things = _paired(dice, options)
    questions = [
        ShapesQuestion(_of(dice, "colour", Description(shape=it.shape), things), it.colour) for it in things[:4]
    ]
    return _scene(dice, options, things, questions)


def shape(dice: Dice, options: SceneOptions) -> ShapesScene:
    """Ask for the shape of what has a colour: "What shape is the red thing?"; each shape once."""
    things = _paired(dice, options)
    questions = [
        ShapesQuestion(_of(dice, "shape", Description(colour=it.colour), things), it.shape) for it in things[:4]
    ]
    return _scene(dice, options, things, questions)


def spatial(dice: Dice, options: SceneOptions) -> ShapesScene:
    """Ask where a thing is, seen from the image's middle or from another; left, right, above and below once each."""
    middle = dice.chance(options.difficulty.middles) and options.objects[1] >= 4
    return _around(dice, options) if middle else _beside(dice, options)


def comparison(dice: Dice, options: SceneOptions) -> ShapesScene:
    """Compare a thing's size with all others' or another's, or how many there are of two kinds; twice yes, twice no."""
    level, drawn = options.difficulty, dice.between(0, 1)
    if drawn < level.extremes:
        return _extreme(dice, options)
    amounts = drawn < level.extremes + level.amounts and options.objects[1] >= 3
    return _amounts(dice, options) if amounts else _sizes(dice, options)


FAMILIES: Mapping[str, Family] = {
    "existence": existence,
    "count": count,
    "colour": colour,
    "shape": shape,
    "spatial": spatial,
    "comparison": comparison,
}
#: things that an image may have to have: two of one colour and three of another, where `count` asks for both
FEWEST = {"existence": 2, "count": 5, "colour": 4, "shape": 4, "spatial": 3, "comparison": 2}
ANSWERS = ("yes", "no", "0", "1", "2", "3", *COLOURS, *SHAPES, "left", "right", "above", "below")


def _around(dice: Dice, options: SceneOptions) -> ShapesScene:
    things, names = _named(dice, options, 4)
    zones = sides(options.difficulty)
    chosen = dict(zip(dice.shuffled(list(names)), zones, strict=False))
    things = place(dice, things, options.difficulty.gap, {index: zones[side] for index, side in chosen.items()})
    questions = [ShapesQuestion(ask(dice, "middle", dice.pick(names[index])), side) for index, side in chosen.items()]
    return ShapesScene(tuple(things), tuple(questions))


def _beside(dice: Dice, options: SceneOptions) -> ShapesScene:
    level = options.difficulty
    while True:
        things, names = _named(dice, options, 3)
        things = place(dice, things, level.gap)
        pairs = [(things[i], things[j], names[i], names[j]) for i in names for j in names if i != j]
        aside = [pair for pair in pairs if before(pair[0].x, pair[1].x, pair[0].y, pair[1].y, level)]
        over = [pair for pair in pairs if before(pair[0].y, pair[1].y, pair[0].x, pair[1].x, level)]
        if aside and over:
            break
    questions = []
    for found, (answer, opposite) in ((aside, ("left", "right")), (over, ("above", "below"))):
        *_, one, other = dice.pick(found)
        questions.append(ShapesQuestion(ask(dice, "relation", dice.pick(one), dice.pick(other)), answer))
        questions.append(ShapesQuestion(ask(dice, "relation", dice.pick(other), dice.pick(one)), opposite))
    return ShapesScene(tuple(things), tuple(questions))


def _extreme(dice: Dice, options: SceneOptions) -> ShapesScene:
    things, names = _named(dice, options, 2)
    kind, (low, high), ratio = (
        _way(dice, options, "largest", "smallest"),
        options.difficulty.sizes,
        options.difficulty.ratio,
    )
    chosen = dice.pick(list(names))
    if kind == "largest":
        sizes = [dice.between(low, high / ratio) for _ in things]
        sizes[chosen] = dice.between(max(sizes) * ratio, high)
    else:
        sizes = [dice.between(low * ratio, high) for _ in things]
        sizes[chosen] = dice.between(low, min(sizes) / ratio)
    things = [Thing(it.colour, it.shape, size) for it, size in zip(things, sizes, strict=True)]
    others = [index for index in names if index != chosen]
    questions = []
    for _ in range(QUESTIONS // 2):
        questions.append(ShapesQuestion(ask(dice, kind, dice.pick(names[chosen])), "yes"))
        questions.append(ShapesQuestion(ask(dice, kind, dice.pick(names[dice.pick(others)])), "no"))
    return _scene(dice, options, things, questions)


def _sizes(dice: Dice, options: SceneOptions) -> ShapesScene:
    ratio = options.difficulty.ratio
    while True:
        things, names = _named(dice, options, 2)
        pairs = [(i, j) for i in names for j in names if things[i].size >= ratio * things[j].size]
        if pairs:
            break
    questions = []
    for _ in range(QUESTIONS // 2):
        kind = _way(dice, options, "larger", "smaller")
        answers = ("yes", "no") if kind == "larger" else ("no", "yes")
        large, small = dice.pick(pairs)
        for (one, other), answer in zip(((large, small), (small, large)), answers, strict=True):
            questions.append(ShapesQuestion(ask(dice, kind, dice.pick(names[one]), dice.pick(names[other])), answer))
    return _scene(dice, options, things, questions)


def _amounts(dice: Dice, options: SceneOptions) -> ShapesScene:
    kinds = [Description(colour=c) for c in COLOURS] if dice.chance(0.5) else [Description(shape=s) for s in SHAPES]
    while True:
        things = various(dice, options, how_many(dice, options, 3))
        numbers = [it.count(things) for it in kinds]
        pairs = [(i, j) for i in range(4) for j in range(4) if numbers[i] > numbers[j] > 0]
        if pairs:
            break
    questions = []
    for _ in range(QUESTIONS // 2):
        kind = _way(dice, options, "more", "fewer")
        answers = ("yes", "no") if kind == "more" else ("no", "yes")
        many, few = dice.pick(pairs)
        for (one, other), answer in zip(((many, few), (few, many)), answers, strict=True):
            questions.append(ShapesQuestion(ask(dice, kind, kinds[one], kinds[other], plural=True), answer))
    return _scene(dice, options, things, questions)


def _way(dice: Dice, options: SceneOptions, usual: str, opposite: str) -> str:
    return opposite if dice.chance(options.difficulty.opposites) else usual


def _paired(dice: Dice, options: SceneOptions) -> list[Thing]:
    """Draw four things of four colours and four shapes; any more are twins of the first ones."""
    kinds = list(zip(dice.shuffled(COLOURS), dice.shuffled(SHAPES), strict=True))
    number = how_many(dice, options, 4)
    return [Thing(*kinds[index % 4], dice.between(*options.difficulty.sizes)) for index in range(number)]


def _named(dice: Dice, options: SceneOptions, fewest: int) -> tuple[list[Thing], dict[int, list[Description]]]:
    """Draw things of which at least `fewest` can be named; with them, the names of each."""
    number = how_many(dice, options, fewest)
    full = dice.chance(options.difficulty.full_names)
    while True:
        kinds = zip(_mixed(dice, COLOURS, number), _mixed(dice, SHAPES, number), strict=True)
        things = [Thing(*kind, dice.between(*options.difficulty.sizes)) for kind in kinds]
        names: dict[int, list[Description]] = {}
        for index, it in enumerate(things):
            single = [Description(colour=it.colour), Description(shape=it.shape)]
            unique = [
                name for name in ([Description(it.colour, it.shape)] if full else single) if name.count(things) == 1
            ]
            if unique:
                names[index] = unique
        if len(names) >= fewest:
            return things, names


def _mixed(dice: Dice, values: Sequence[str], number: int) -> list[str]:
    """Draw `number` values with few repetitions."""
    pool = dice.shuffled(values) + dice.shuffled(values)
    return dice.shuffled(pool[:number])


def _of(dice: Dice, kind: str, it: Description, things: Sequence[Thing]) -> str:
    several = it.count(things) > 1
    return ask(dice, f"{kind} of several" if several else kind, it, plural=several)


def _scene(
    dice: Dice, options: SceneOptions, things: Sequence[Thing], questions: Sequence[ShapesQuestion]
) -> ShapesScene:
    return ShapesScene(tuple(place(dice, things, options.difficulty.gap)), tuple(questions))
