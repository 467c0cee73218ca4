"""The world of captions: each says all there is, and is true of one picture alone."""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from mtlab.config.check import check_config
from mtlab.data.base import SPLITS, Split
from mtlab.data.worlds.scenes.scene import COLOURS, SHAPES, Thing
from mtlab.data.worlds.shapes_captions import CAPTIONS, ShapesCaptions
from mtlab.errors import UserError

NUMBERS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


def world(**options: Any) -> ShapesCaptions:
    return ShapesCaptions(check_config(ShapesCaptions.Config, options))


def named(caption: str) -> Counter[tuple[str, str]]:
    """What a caption says is there, read off its words."""
    found = re.findall(rf"\b(\w+) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})s?\b", caption.lower())
    return Counter({(colour, shape): NUMBERS[number] for number, colour, shape in found})


def shown(things: list[Thing]) -> Counter[tuple[str, str]]:
    return Counter((it.colour, it.shape) for it in things)


def thing(things: list[Thing], colour: str, shape: str) -> Thing:
    (found,) = [it for it in things if (it.colour, it.shape) == (colour, shape)]
    return found


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_a_caption_names_all_there_is_and_places_it_rightly(difficulty: str) -> None:
    data = world(difficulty=difficulty, train=1200)
    placed = Counter[str]()
    kinds = f"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    for example in data.examples("train"):
        things = data.scene("train", int(example.image.partition("/")[2]))
        assert named(example.text) == shown(things), example
        number = re.search(r"\b(two|three|four|five) (shapes|things)\b", example.text)
        assert number is None or NUMBERS[number[1]] == len(things)
        relation = re.search(rf"a {kinds} (to the left of|to the right of|above|below) a {kinds}", example.text.lower())
        assert bool(relation) == (example.family == "place")
        if relation:
            one, other = thing(things, *relation.group(1, 2)), thing(things, *relation.group(4, 5))
            dx, dy = one.x - other.x, one.y - other.y
            side = relation[3].split()[-1] if "of" not in relation[3] else relation[3].split()[2]
            assert {"left": -dx, "right": dx, "above": -dy, "below": dy}[side] >= 0.2
            placed[side] += 1
    assert set(placed) == {"left", "right", "above", "below"}


def test_no_caption_is_true_of_two_pictures() -> None:
    """So retrieval has one right answer: all pictures of val and test, and those of train that are first to show it."""
    data = world(train=9656, val=4828, test=4828)  # all that there are
    sets = {split: [frozenset(shown(data.scene(split, index)).items()) for index in range(1207)] for split in SPLITS}
    everything = [one for split in SPLITS for one in sets[split]]
    assert len(set(everything)) == len(everything)
    texts = [example.text for split in SPLITS for example in data.examples(split)]
    assert len(set(texts)) == len(texts)
    assert data.remarks(data.config) == []


def test_a_picture_has_four_different_captions() -> None:
    for options in ({}, {"kinds": ["list"]}, {"kinds": ["place"]}):
        data = world(val=401, **options)
        counted = Counter(example.image for example in data.examples("val"))
        assert sorted(counted.values(), reverse=True) == [CAPTIONS] * 100 + [1]
        assert {example.family for example in data.examples("val")} == {"list", "place"} - (
            {"place"} if options == {"kinds": ["list"]} else set()
        )


def test_it_is_told_when_pictures_show_the_same() -> None:
    told = ShapesCaptions.remarks(check_config(ShapesCaptions.Config, {"train": 20_000, "val": 800}))
    assert len(told) == 1
    assert told[0].startswith("train has 5,000 pictures of 2,414 sets of things")
    data = world(train=20_000)
    assert shown(data.scene("train", 0)) == shown(data.scene("train", 2414))
    assert data.scene("train", 0) != data.scene("train", 2414)


def test_a_larger_training_set_begins_with_the_smaller_one_and_seeds_differ() -> None:
    small, large = world(train=400), world(train=800)
    assert list(small.examples("train")) == list(large.examples("train"))[:400]
    assert world(seed=1).examples("val")[0].text != world().examples("val")[0].text


def test_captions_answer_nothing() -> None:
    data = world()
    assert data.provides == {"captions", "objects"}
    assert data.answers == ()
    splits: tuple[Split, ...] = SPLITS
    assert {example.target for split in splits for example in data.examples(split)} == {-1}
    assert all(example.image.startswith("val/") for example in data.examples("val"))


def test_the_world_of_this_version_stays_as_it_is() -> None:
    """Stored results rest on these captions and pictures: when this must change, raise VERSION."""
    data = world(train=300)
    told = repr([e.text for e in data.examples("train")]).encode()
    assert hashlib.blake2b(told, digest_size=8).hexdigest() == "82e3f89609297cb8"
    means = [data.image(f"train/{index}").mean((0, 1)).round(1).tolist() for index in (0, 5)]
    np.testing.assert_allclose(means, [[161.3, 156.2, 155.7], [162.0, 166.5, 173.5]], atol=0.3)


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"objects": [4, 2]}, "objects", "swap"),
        ({"objects": [2, 6]}, "objects", "at most 5"),
        ({"kinds": []}, "kinds", "at least one"),
        ({"kinds": ["size"]}, "kinds", "not one of"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as told:
        check_config(ShapesCaptions.Config, options)
    assert told.value.key == key
