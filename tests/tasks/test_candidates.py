"""Which captions an image's own are compared with."""

from collections import Counter

import numpy as np

from mtlab.data.base import Example
from mtlab.data.worlds.scenes.captions import named_objects
from mtlab.data.worlds.shapes_captions import ShapesCaptions
from mtlab.tasks.answers.candidates import draw_distractors


def captions(images: int, each: int = 2) -> list[Example]:
    """Captions of two families, as many of each for every image; every tenth image shows the same."""
    return [
        Example(f"{image}/{number}/{family}", f"{family} {image} {number}", f"i{image}", -1, family, objects=objects)
        for image in range(images)
        for objects in [("cat",) if image % 10 == 0 else (f"thing {image}",)]
        for family in ("long", "short")
        for number in range(each)
    ]


def test_they_are_of_its_family_and_of_other_images_that_show_something_else() -> None:
    examples = captions(40)
    for example, rows in zip(examples, draw_distractors(examples, 7), strict=True):
        others = [examples[row] for row in rows]
        assert len({each.text for each in others} | {example.text}) == 8
        assert {each.family for each in others} == {example.family}
        assert all(each.image != example.image and each.objects != example.objects for each in others)


def test_they_are_the_same_whatever_else_the_image_has_and_in_every_run() -> None:
    examples = captions(20)
    found = draw_distractors(examples, 5)
    assert found == draw_distractors(examples, 5)
    assert found[0] == found[1] != found[2]
    shuffled = [examples[row] for row in np.random.default_rng(0).permutation(len(examples))]
    chosen = {example.id: {shuffled[row].id for row in rows} for example, rows in _pairs(shuffled, 5)}
    alone = {example.id: {examples[row].id for row in rows} for example, rows in _pairs(examples, 5)}
    same = [chosen[each] == alone[each] for each in chosen]
    assert np.mean(same) > 0.4, "order matters only to which of an image's captions stands first"


def _pairs(examples: list[Example], number: int) -> list[tuple[Example, tuple[int, ...]]]:
    return list(zip(examples, draw_distractors(examples, number), strict=True))


def test_a_model_that_sees_no_image_is_right_by_chance_in_each_family() -> None:
    """Whichever captions it prefers: those of an alphabet, here drawn anew 200 times."""
    examples, generator = captions(60), np.random.default_rng(1)
    distractors = draw_distractors(examples, 7)
    right = {"long": [], "short": []}
    for _ in range(200):
        liked = generator.random(len(examples))
        for row, others in enumerate(distractors):
            right[examples[row].family].append(liked[row] > max(liked[list(others)]))
    for found in right.values():
        assert abs(np.mean(found) - 1 / 8) < 0.01


def test_where_there_are_too_few_all_are_taken() -> None:
    examples = captions(3, each=1)
    assert [len(rows) for rows in draw_distractors(examples, 15)] == [2] * 6
    same_words = [Example("a", "a cat", "x", -1, "f"), Example("b", "a cat", "y", -1, "f")]
    assert draw_distractors(same_words, 3) == [(), ()]


def test_each_caption_is_compared_about_as_often_as_any_other() -> None:
    examples = captions(50, each=1)
    used = Counter(row for rows in draw_distractors(examples, 7) for row in rows)
    assert set(range(len(examples))) == set(used)
    assert max(used.values()) <= 14


def test_what_a_caption_names_is_read_off_its_words() -> None:
    world = ShapesCaptions(ShapesCaptions.Config(train=400))
    for example in world.examples("train"):
        assert named_objects(example.text) == example.objects
    assert named_objects("Two red stars, no blue circle and a PURPLE star") == ("red star", "red star")
    assert named_objects("") == ()
