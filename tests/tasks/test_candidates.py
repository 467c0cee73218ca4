"""Which captions an image's own are compared with."""

from collections import Counter
from typing import Any

import numpy as np

from mtlab.data.base import Example
from mtlab.data.worlds.scenes.captions import named_objects
from mtlab.data.worlds.shapes_captions import ShapesCaptions
from mtlab.tasks.answers.candidates import draw_distractors, score_commonest


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
        distractors = [examples[row] for row in rows]
        assert len({each.text for each in distractors} | {example.text}) == 8
        assert {each.family for each in distractors} == {example.family}
        assert all(each.image != example.image and each.objects != example.objects for each in distractors)


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
        for row, chosen in enumerate(distractors):
            right[examples[row].family].append(liked[row] > max(liked[list(chosen)]))
    for found in right.values():
        assert abs(np.mean(found) - 1 / 8) < 0.01


def test_where_there_are_too_few_all_are_taken() -> None:
    examples = captions(3, each=1)
    assert [len(rows) for rows in draw_distractors(examples, 15)] == [2] * 6


def test_one_in_the_same_words_is_none_whatever_its_case_and_punctuation() -> None:
    said = ("a cat", "A cat.", "a  cat!", "a dog")
    examples = [Example(str(number), text, f"i{number}", -1, "f") for number, text in enumerate(said)]
    found = draw_distractors(examples, 3)
    assert found[:3] == [(3,)] * 3
    assert len(found[3]) == 1


def test_one_of_the_same_group_is_none_nor_one_in_its_words() -> None:
    scenes = [("a cat", "one"), ("a tom", "one"), ("a dog", "two"), ("a tom", "three"), ("a cow", "")]
    examples = [Example(str(row), text, f"i{row}", -1, "f", group=group) for row, (text, group) in enumerate(scenes)]
    assert sorted(draw_distractors(examples, 5)[0]) == [2, 4]


def test_there_is_one_of_each_other_image() -> None:
    examples = captions(40, each=5)
    for rows in draw_distractors(examples, 15):
        assert len({examples[row].image for row in rows}) == len(rows) == 15


def test_where_few_captions_are_distinct_not_all_rows_are_looked_at_for_each() -> None:
    examples = [Example(str(row), f"text {row % 10 if row else 'of one'}", f"i{row}", -1, "f") for row in range(500)]
    seen: Counter[str] = Counter()

    class Counted(list[Example]):
        def __getitem__(self, row: Any) -> Any:
            seen["rows"] += 1
            return super().__getitem__(row)

    assert {len(rows) for rows in draw_distractors(Counted(examples), 15)} == {10}
    assert seen["rows"] < 30 * len(examples)


def test_the_blind_answer_is_the_commonest_candidate() -> None:
    """Half of the images share a caption: a model that prefers common ones is right for each of these."""
    shared = [Example(f"s{row}", "A man." if row % 2 else "a man", f"s{row}", -1, "f") for row in range(100)]
    unique = [Example(f"u{row}", f"man {row}", f"u{row}", -1, "f") for row in range(100)]
    examples = [*shared, *unique]
    scores = score_commonest(examples, draw_distractors(examples, 15))
    assert scores[:100].tolist() == [1.0] * 100
    assert scores[100:].mean() < 1 / 16, "the common one is among nearly all of their distractors"
    alone = score_commonest(unique, draw_distractors(unique, 15))
    assert alone.tolist() == [1 / 16] * 100
    assert score_commonest(shared, draw_distractors(shared, 15)).tolist() == [1.0] * 100, "there is no other"


def test_how_common_a_caption_is_depends_on_its_family() -> None:
    families = [("a man", "f"), ("a man", "f"), ("a dog", "f"), ("a dog", "g"), ("a dog", "g"), ("a man", "g")]
    examples = [Example(str(row), text, f"i{row}", -1, family) for row, (text, family) in enumerate(families)]
    assert score_commonest(examples, draw_distractors(examples, 3)).tolist() == [1, 1, 0, 1, 1, 0]


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
