"""The shapes world: what it promises of its scenes, questions and pictures, judged from the outside."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import pairwise
from math import hypot
from typing import Any

import numpy as np
import pytest

from mtlab.config.check import check_config, to_plain
from mtlab.data.base import DATASETS
from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.questions import ANSWERS, FAMILIES, ShapesScene
from mtlab.data.worlds.scenes.render import render
from mtlab.data.worlds.scenes.scene import COLOURS, SHAPES, Thing
from mtlab.data.worlds.shapes import Shapes
from mtlab.errors import UserError

LEVELS = ("easy", "medium", "hard")


def world(**options: Any) -> Shapes:
    return Shapes(check_config(Shapes.Config, options))


def named(question: str) -> list[tuple[str | None, str | None]]:
    """The things that a question names, in order, read off its words: (colour, shape)."""
    found: list[tuple[str | None, str | None]] = []
    nouns = "|".join(SHAPES) + "|shape|object|thing|one"
    for colour, noun in re.findall(rf"(?:\b({'|'.join(COLOURS)}) )?\b({nouns})s?\b", question.lower()):
        shape = noun if noun in SHAPES else None
        if colour or shape:
            found.append((colour or None, shape))
    return found


def fitting(scene: ShapesScene, name: tuple[str | None, str | None]) -> list[Thing]:
    return [it for it in scene.things if name[0] in (None, it.colour) and name[1] in (None, it.shape)]


def true_answer(scene: ShapesScene, family: str, question: str) -> str:
    """Answer a question by looking at the scene, from its words alone."""
    groups = [fitting(scene, name) for name in named(question)]
    if family == "existence":
        return "yes" if groups[0] else "no"
    if family == "count":
        return str(len(groups[0]))
    if family in ("colour", "shape"):
        values = {getattr(it, family) for it in groups[0]}
        assert len(values) == 1, question
        return str(values.pop())
    if family == "comparison" and ("more" in question or "fewer" in question):
        first, second = map(len, groups)
        assert first != second
        return "yes" if (first > second) == ("more" in question) else "no"
    assert {len(group) for group in groups} == {1}, f"{question!r} names no single thing"
    (one,), *rest = groups
    if "largest" in question or "biggest" in question or "smallest" in question or "everything else" in question:
        others = [it.size for it in scene.things if it is not one]
        small = "small" in question
        extreme = one.size * 1.25 < min(others) if small else one.size > 1.25 * max(others)
        assert extreme or (one.size > min(others) if small else one.size < max(others))
        return "yes" if extreme else "no"
    if family == "comparison":
        ((other,),) = rest
        assert max(one.size, other.size) >= 1.25 * min(one.size, other.size)
        return "no" if (one.size > other.size) == ("smaller" in question) else "yes"
    other = rest[0][0] if rest else Thing("grey", "point", 0.0, 0.5, 0.5)
    assert bool(rest) != ("middle" in question or "centre" in question)
    dx, dy = one.x - other.x, one.y - other.y
    assert max(abs(dx), abs(dy)) >= 0.17
    assert min(abs(dx), abs(dy)) <= 0.6 * max(abs(dx), abs(dy))
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


@pytest.mark.parametrize("difficulty", LEVELS)
def test_every_answer_is_true_of_the_scene(difficulty: str) -> None:
    shapes = world(difficulty=difficulty)
    for index in range(600):
        scene = shapes.scene("train", index)
        for question in scene.questions:
            assert question.answer == true_answer(scene, shapes.family(index), question.text), question


@pytest.mark.parametrize("difficulty", LEVELS)
def test_things_stand_apart_inside_the_picture(difficulty: str) -> None:
    shapes = world(difficulty=difficulty)
    numbers = Counter[int]()
    for index in range(600):
        things = shapes.scene("train", index).things
        numbers[len(things)] += 1
        for it in things:
            assert it.reach <= min(it.x, it.y, 1 - it.x, 1 - it.y)
        for one, other in ((a, b) for i, a in enumerate(things) for b in things[:i]):
            assert hypot(one.x - other.x, one.y - other.y) > one.reach + other.reach
    assert set(numbers) == {2, 3, 4, 5}


def test_a_picture_alone_tells_no_more_than_the_commonest_answer() -> None:
    """Each scene's answers are spread evenly over its family's: nothing in it can favour one of them."""
    shapes = world()
    spread = {family: set[tuple[int, ...]]() for family in FAMILIES}
    for index in range(1200):
        answers = Counter(question.answer for question in shapes.scene("train", index).questions)
        spread[shapes.family(index)].add(tuple(sorted(answers.values())))
    ways = {"existence": (2, 2), "comparison": (2, 2)}
    assert spread == {family: {ways.get(family, (1, 1, 1, 1))} for family in FAMILIES}


def test_the_options_bound_what_is_shown() -> None:
    shapes = world(objects=[3, 4], families=["spatial", "existence"], image_size=48)
    assert {shapes.family(index) for index in range(10)} == {"spatial", "existence"}
    assert {len(shapes.scene("val", index).things) for index in range(200)} == {3, 4}
    assert shapes.image("val/0").shape == (48, 48, 3)
    assert shapes.image("val/0").dtype == np.uint8


def test_examples_share_pictures_and_have_ids_of_their_own() -> None:
    shapes = world(train=1001, val=202, test=203)
    assert shapes.sizes(shapes.config) == {"train": 1001, "val": 202, "test": 203}
    assert shapes.answers == ANSWERS
    assert len(set(ANSWERS)) == 18
    everything = [example for split in ("train", "val", "test") for example in shapes.examples(split)]
    assert len(everything) == 1406
    assert len({example.id for example in everything}) == 1406
    assert len({example.image for example in everything}) == 251 + 51 + 51
    assert Counter(example.family for example in shapes.examples("train")).most_common()[-1][1] >= 1001 // 6 - 4
    assert shapes.examples("train") is shapes.examples("train")


def test_splits_show_different_scenes() -> None:
    shapes = world()
    seen = [{shapes.scene(split, index).things for index in range(300)} for split in ("train", "val", "test")]
    assert all(a.isdisjoint(b) for a, b in (*pairwise(seen), (seen[0], seen[2])))


def test_a_larger_training_set_begins_with_the_smaller_one() -> None:
    small, large = world(train=400), world(train=800)
    assert list(small.examples("train")) == list(large.examples("train"))[:400]
    assert np.array_equal(small.image("train/7"), large.image("train/7"))


def test_another_seed_is_another_world() -> None:
    assert world(seed=1).scene("train", 0) != world().scene("train", 0)


def test_questions_are_few_and_varied() -> None:
    texts = Counter(example.text for example in world().examples("train"))
    assert 500 < len(texts) < 1500
    assert {text.split()[0] for text in texts} >= {"Is", "How", "What", "Where", "Are", "Which", "Count", "Tell"}


def test_the_world_of_this_version_stays_as_it_is() -> None:
    """Stored results rest on these questions and pictures: when this must change, raise VERSION."""
    shapes = world(train=600)
    questions = repr([(e.text, e.target) for e in shapes.examples("train")]).encode()
    assert hashlib.blake2b(questions, digest_size=8).hexdigest() == "857946616fdf7fe5"
    means = [shapes.image(f"train/{index}").mean((0, 1)).round(1).tolist() for index in (0, 5)]
    np.testing.assert_allclose(means, [[182.8, 171.9, 166.9], [178.2, 178.6, 175.4]], atol=0.3)


def test_a_thing_is_painted_where_it_stands_and_nowhere_else() -> None:
    for colour, channel in (("red", 0), ("green", 1), ("blue", 2)):
        things = [Thing(colour, "circle", 0.1, 0.3, 0.7)]
        picture = render(Dice(colour), things, size=100, clutter=0.0, tint=0.0).astype(int)
        vivid = picture[..., channel] - np.delete(picture, channel, -1).max(-1) > 40
        rows, columns = np.nonzero(vivid)
        assert abs(rows.mean() - 69.5) < 1
        assert abs(columns.mean() - 29.5) < 1
        outer, inner = (np.pi * (radius * 100) ** 2 for radius in (0.113, 0.113 - 0.014))  # with and without the rim
        assert 0.95 * inner < vivid.sum() < 1.05 * outer


def test_areas_follow_sizes_across_shapes() -> None:
    """A star of a size covers about what a square of that size does: comparing sizes is fair."""
    areas = {}
    for shape in SHAPES:
        picture = render(Dice(1), [Thing("red", shape, 0.2, 0.5, 0.5)], size=200, clutter=0.0, tint=0.0).astype(int)
        areas[shape] = int((picture[..., 0] - picture[..., 1:].max(-1) > 40).sum())
    assert max(areas.values()) < 1.35 * min(areas.values()), areas


@pytest.mark.parametrize("key", ["train", "train/x", "dev/1", "train/-1"])
def test_an_unknown_picture_is_a_key_error(key: str) -> None:
    with pytest.raises(KeyError):
        world().image(key)


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"objects": [5, 2]}, "objects", "swap"),
        ({"objects": [2, 3], "families": ["colour"]}, "objects", "colour needs pictures of up to 4"),
        ({"objects": [2, 4], "families": ["count"]}, "objects", "count needs pictures of up to 5"),
        ({"objects": [1, 5]}, "objects", "at least 2"),
        ({"families": []}, "families", "at least one"),
        ({"families": ["count", "count"]}, "families", "once"),
        ({"families": ["counting"]}, "families", "not one of"),
        ({"difficulty": "extreme"}, "difficulty", "easy"),
        ({"image_size": 8}, "image_size", "at least 32"),
        ({"clutter": 1.5}, "clutter", "at most 1"),
        ({"shapes": 3}, "shapes", "unknown key"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as raised:
        check_config(Shapes.Config, options)
    assert raised.value.key == key


def test_options_survive_plain_data() -> None:
    config = check_config(Shapes.Config, {"objects": [3, 5], "families": ["count"]})
    assert check_config(Shapes.Config, to_plain(config)) == config


def test_it_is_registered() -> None:
    assert DATASETS.get("shapes").cls is Shapes
