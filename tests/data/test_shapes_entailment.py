"""The world of entailment: labels follow from what a picture shows, and neutral is what it cannot show."""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from blind import POINTS, above_commonest, fitted, looks, of, refuse_words_that_tell, vectoriser_of, words

from mtlab.config.check import check_config
from mtlab.data.base import DATASETS
from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.scenes.entailment import FAMILIES, LABELS
from mtlab.data.worlds.scenes.render import HOLE, render
from mtlab.data.worlds.scenes.scene import COLOURS, LID, SHAPES, Thing
from mtlab.data.worlds.shapes_entailment import ShapesEntailment
from mtlab.errors import UserError

LEVELS = ("easy", "medium", "hard")


def world(**options: Any) -> ShapesEntailment:
    return ShapesEntailment(check_config(ShapesEntailment.Config, options))


def true_of(sentence: str, things: list[Thing]) -> bool:
    """Judge a sentence, by its words, of things that are all seen."""
    text = sentence.lower()
    colour = next((it for it in COLOURS if it in text), None)
    shape = next(it for it in SHAPES if it in text)
    named = [it for it in things if it.colour == (colour or it.colour)]
    fitting = sum(it.shape == shape for it in named)
    if "two" in text or "more than one" in text or "at most one" in text:
        assert colour is None
        return fitting <= 1 if re.search("at most|no more", text) else fitting >= 2
    denied = bool(re.search(r"\bno\b|\bnot\b|\bnone\b", text))
    if "thing is" in text or "thing that is" in text:
        assert len(named) == 1, "the sentence speaks of one thing of that colour"
    return bool(fitting) != denied


@pytest.mark.parametrize("difficulty", LEVELS)
def test_a_label_is_what_holds_for_every_shape_under_the_lid(difficulty: str) -> None:
    """Entailed: true whichever shape lies there; contradicted: false whichever; neutral: it depends."""
    data = world(difficulty=difficulty)
    for index in range(600):
        scene = data.scene("train", index)
        *seen, lid = scene.things
        assert lid.shape == LID
        assert all(it.shape in SHAPES for it in seen)
        for sentence, label in scene.sentences:
            found = {true_of(sentence, [*seen, Thing(lid.colour, shape, lid.size)]) for shape in SHAPES}
            expected = "neutral" if len(found) == 2 else "entailment" if found == {True} else "contradiction"
            assert label == expected, (sentence, scene.things)


def test_every_shape_would_fill_the_hole_in_the_lid() -> None:
    """So the colour that shows says nothing of the shape; which is not even drawn."""
    away = np.hypot(*(np.mgrid[-100:100, -100:100] + 0.5))
    for shape in SHAPES:
        for tilt in range(4):
            thing = [Thing("red", shape, 0.25, 0.5, 0.5)]
            picture = render(Dice(tilt), thing, size=200, clutter=0.0, tint=0.0)
            behind = picture[away < 0.25 * 200 * np.hypot(*HOLE)].reshape(-1, 3)
            assert len(set(map(tuple, behind.tolist()))) == 1, shape  # bare paint, without the rim
            assert behind[0, 0] > 200


def test_every_picture_has_each_label_once_and_families_take_turns() -> None:
    data = world(train=1000, val=99, test=100)
    examples = data.examples("train")
    assert len(examples) == 1000
    assert data.answers == ("contradiction", "neutral", "entailment")
    by_picture: dict[str, list[int]] = {}
    for example in examples[:999]:
        by_picture.setdefault(example.image, []).append(example.target)
    assert all(sorted(targets) == [0, 1, 2] for targets in by_picture.values())
    assert {data.family(index) for index in range(3)} == set(FAMILIES)
    ids = [example.id for split in ("train", "val", "test") for example in data.examples(split)]
    assert len(set(ids)) == len(ids) == 1199


@pytest.mark.parametrize("difficulty", ["medium", pytest.param("hard", marks=pytest.mark.slow)])
def test_words_alone_tell_nothing(difficulty: str) -> None:
    data = world(difficulty=difficulty, train=9000, test=18_000)
    for family in FAMILIES:
        train, test = (of(family, data.examples(split)) for split in ("train", "test"))
        vectoriser = vectoriser_of(train)
        for predicted in fitted(words(train, vectoriser), [e.target for e in train], words(test, vectoriser)):
            assert above_commonest(predicted, test) <= POINTS, family
        refuse_words_that_tell(test)


@pytest.mark.slow
def test_pictures_alone_tell_nothing() -> None:
    data = world(train=1800, test=1800)
    for family in FAMILIES:
        seen, tested = (of(family, data.examples(split)) for split in ("train", "test"))
        for predicted in fitted(looks(data, seen), [e.target for e in seen], looks(data, tested)):
            assert above_commonest(predicted, tested) <= POINTS, family


def test_near_misses_name_colours_and_shapes_that_are_there() -> None:
    data = world(difficulty="hard", families=["existence"])
    for index in range(200):
        scene = data.scene("train", index)
        *seen, _ = scene.things
        for sentence, label in scene.sentences:
            absent = label == ("entailment" if re.search(r"\bno(ne)?\b", sentence.lower()) else "contradiction")
            if absent:
                colour, shape = (next(it for it in names if it in sentence) for names in (COLOURS, SHAPES))
                assert colour in {it.colour for it in seen}
                assert shape in {it.shape for it in seen}


def test_the_premise_says_what_is_seen() -> None:
    data = world()
    *seen, lid = data.scene("val", 7).things
    said = data.premise("val/7")
    assert all(f"a {it.colour} {it.shape}" in said for it in seen)
    assert said.endswith(f"something {lid.colour} under a lid.")


def test_the_world_of_this_version_stays_as_it_is() -> None:
    """Stored results rest on these sentences and pictures: when this must change, raise VERSION."""
    data = world(train=300)
    told = repr([(e.text, e.target) for e in data.examples("train")]).encode()
    assert hashlib.blake2b(told, digest_size=8).hexdigest() == "bcb04cdee331970a"
    means = [data.image(f"train/{index}").mean((0, 1)).round(1).tolist() for index in (0, 5)]
    np.testing.assert_allclose(means, [[158.6, 149.3, 151.3], [160.1, 153.9, 140.4]], atol=0.3)


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"objects": [4, 2]}, "objects", "swap"),
        ({"objects": [2, 2]}, "objects", "number needs pictures of up to 3"),
        ({"objects": [4, 5]}, "objects", "shape has pictures of up to 3 shapes beside the lid"),
        ({"families": []}, "families", "at least one"),
        ({"families": ["shapes"]}, "families", "not one of"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as told:
        check_config(ShapesEntailment.Config, options)
    assert told.value.key == key


def test_it_is_registered_for_the_task() -> None:
    entry = DATASETS.get("shapes_entailment")
    assert entry.cls.provides == {"answers"}
    assert LABELS == ("contradiction", "neutral", "entailment")
    assert sum(Counter(world(test=30).sizes(world(test=30).config)).values()) == 9000 + 900 + 30


@pytest.mark.parametrize("key", ["train", "train/x", "dev/1", "train/1/0"])
def test_an_unknown_picture_is_a_key_error(key: str) -> None:
    with pytest.raises(KeyError):
        world().image(key)
