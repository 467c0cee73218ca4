"""Blind models on the shapes world: who sees only the words, or only the picture, learns the commonest answer alone."""

from __future__ import annotations

from functools import cache

import pytest
from blind import POINTS, above_commonest, fitted, looks, of, refuse_words_that_tell, vectoriser_of, words

from mtlab.config.check import check_config
from mtlab.data.base import Split
from mtlab.data.worlds.scenes.questions import FAMILIES
from mtlab.data.worlds.shapes import Shapes

SPLITS: tuple[Split, Split] = ("train", "test")


@cache
def world(difficulty: str, train: int, test: int) -> Shapes:
    return Shapes(check_config(Shapes.Config, {"difficulty": difficulty, "train": train, "test": test}))


@pytest.mark.parametrize(
    "difficulty", ["medium", pytest.param("easy", marks=pytest.mark.slow), pytest.param("hard", marks=pytest.mark.slow)]
)
def test_words_alone_tell_no_more_than_the_commonest_answer(difficulty: str) -> None:
    shapes = world(difficulty, 6_000, 12_000)
    for family in FAMILIES:
        train, test = (of(family, shapes.examples(split)) for split in SPLITS)
        vectoriser = vectoriser_of(train)
        for predicted in fitted(words(train, vectoriser), [e.target for e in train], words(test, vectoriser)):
            assert above_commonest(predicted, test) <= POINTS, family


@pytest.mark.slow
def test_pictures_alone_tell_no_more_than_the_commonest_answer() -> None:
    shapes = world("medium", 6_000, 4_000)
    for family in FAMILIES:
        seen, tested = (of(family, shapes.examples(split)) for split in SPLITS)
        for predicted in fitted(looks(shapes, seen), [e.target for e in seen], looks(shapes, tested)):
            assert above_commonest(predicted, tested) <= POINTS, family


def test_each_word_goes_with_every_answer_alike() -> None:
    examples = world("medium", 12_000, 24_000).examples("test")
    for family in FAMILIES:
        refuse_words_that_tell(of(family, examples))
