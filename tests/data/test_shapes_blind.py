"""Blind models on the shapes world: who sees only the words, or only the picture, learns the commonest answer alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from mtlab.config.check import checked
from mtlab.data.base import Example, Split
from mtlab.data.shapes import Shapes
from mtlab.data.shapes_questions import FAMILIES

SPLITS: tuple[Split, Split] = ("train", "test")
POINTS = 0.03  #: how far above the commonest answer a blind model may come
Matrix = NDArray[np.float32]


@cache
def world(difficulty: str, train: int, test: int) -> Shapes:
    return Shapes(checked(Shapes.Config, {"difficulty": difficulty, "train": train, "test": test}))


def words(examples: Sequence[Example], vectoriser: CountVectorizer) -> Matrix:
    """Words and pairs of words."""
    counted: Matrix = vectoriser.transform([example.text for example in examples]).toarray().astype(np.float32)
    return counted


def looks(shapes: Shapes, examples: Sequence[Example]) -> Matrix:
    """Colours over the whole picture and in each of 4 × 4 fields, and how they spread."""
    rows = {}
    for key in {example.image for example in examples}:
        pixels = shapes.image(key).astype(np.float32) / 255
        fields = pixels.reshape(4, pixels.shape[0] // 4, 4, pixels.shape[1] // 4, 3)
        bins = np.histogramdd(pixels.reshape(-1, 3), bins=3, range=[(0, 1)] * 3)[0]
        rows[key] = np.concatenate(
            [fields.mean((1, 3)).ravel(), fields.std((1, 3)).ravel(), np.log1p(bins.ravel()), pixels.std((0, 1))]
        )
    found = np.stack([rows[example.image] for example in examples])
    return np.asarray((found - found.mean(0)) / (found.std(0) + 1e-6), np.float32)


def above_commonest(predicted: Sequence[int], tested: Sequence[Example]) -> float:
    """How far the accuracy lies above that of the commonest answer."""
    targets = [example.target for example in tested]
    commonest = Counter(targets).most_common(1)[0][1] / len(targets)
    return float(np.mean(np.equal(predicted, targets))) - commonest


def of(family: str, examples: Sequence[Example]) -> list[Example]:
    return [example for example in examples if example.family == family]


def fitted(features: Matrix, targets: Sequence[int], tested: Matrix) -> list[list[int]]:
    """What a linear model and a small network answer."""
    models = (
        LogisticRegression(C=0.3, max_iter=200),
        MLPClassifier((64,), early_stopping=True, max_iter=30, random_state=0),
    )
    return [list(model.fit(features, targets).predict(tested)) for model in models]


@pytest.mark.parametrize(
    "difficulty", ["medium", pytest.param("easy", marks=pytest.mark.slow), pytest.param("hard", marks=pytest.mark.slow)]
)
def test_words_alone_tell_no_more_than_the_commonest_answer(difficulty: str) -> None:
    shapes = world(difficulty, 12_000, 24_000)
    for family in FAMILIES:
        train, test = (of(family, shapes.examples(split)) for split in SPLITS)
        vectoriser = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", binary=True)
        vectoriser.fit([example.text for example in train])
        for predicted in fitted(words(train, vectoriser), [e.target for e in train], words(test, vectoriser)):
            assert above_commonest(predicted, test) <= POINTS, family


@pytest.mark.parametrize(("train", "test"), [(2_400, 2_400), pytest.param(12_000, 6_000, marks=pytest.mark.slow)])
def test_pictures_alone_tell_no_more_than_the_commonest_answer(train: int, test: int) -> None:
    shapes = world("medium", train, test)
    for family in FAMILIES:
        seen, tested = (of(family, shapes.examples(split)) for split in SPLITS)
        for predicted in fitted(looks(shapes, seen), [e.target for e in seen], looks(shapes, tested)):
            assert above_commonest(predicted, tested) <= POINTS, family


def test_each_word_goes_with_every_answer_alike() -> None:
    """Sharper than any model: given any one word, no answer of its family is far from its even share."""
    examples = world("medium", 12_000, 24_000).examples("test")
    for family in FAMILIES:
        of_family = of(family, examples)
        answers = len({example.target for example in of_family})
        with_word: dict[str, Counter[int]] = {}
        for example in of_family:
            for word in set(re.findall(r"\w+", example.text.lower())):
                with_word.setdefault(word, Counter())[example.target] += 1
        for word, counted in with_word.items():
            total = counted.total()
            share = max(counted.values()) / total
            assert share - 1 / answers < 4 * (0.25 / total) ** 0.5, (family, word, counted)
