"""Models that see the words alone, or the picture alone, and what they find."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from mtlab.data.base import Dataset, Example

POINTS = 0.03  #: how far above the commonest answer a blind model may come
Matrix = NDArray[np.float32]


def words(examples: Sequence[Example], vectoriser: CountVectorizer) -> Matrix:
    """Words and pairs of words."""
    counted: Matrix = vectoriser.transform([example.text for example in examples]).toarray().astype(np.float32)
    return counted


def vectoriser_of(examples: Sequence[Example]) -> CountVectorizer:
    """Learn the words of some examples."""
    found = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", binary=True)
    found.fit([example.text for example in examples])
    return found


def looks(data: Dataset, examples: Sequence[Example]) -> Matrix:
    """Colours over the whole picture and in each of 4 × 4 fields, and how they spread; pairs: side by side."""
    rows = {}
    for key in {key for example in examples for key in example.images}:
        pixels = data.image(key).astype(np.float32) / 255
        fields = pixels.reshape(4, pixels.shape[0] // 4, 4, pixels.shape[1] // 4, 3)
        bins = np.histogramdd(pixels.reshape(-1, 3), bins=3, range=[(0, 1)] * 3)[0]
        rows[key] = np.concatenate(
            [fields.mean((1, 3)).ravel(), fields.std((1, 3)).ravel(), np.log1p(bins.ravel()), pixels.std((0, 1))]
        )
    found = np.stack([np.concatenate([rows[key] for key in example.images]) for example in examples])
    return np.asarray((found - found.mean(0)) / (found.std(0) + 1e-6), np.float32)


def above_commonest(predicted: Sequence[int], tested: Sequence[Example]) -> float:
    """How far the accuracy lies above that of the commonest answer."""
    targets = [example.target for example in tested]
    commonest = Counter(targets).most_common(1)[0][1] / len(targets)
    return float(np.mean(np.equal(predicted, targets))) - commonest


def of(family: str, examples: Sequence[Example]) -> list[Example]:
    """Choose the examples of a family."""
    return [example for example in examples if example.family == family]


def fitted(features: Matrix, targets: Sequence[int], tested: Matrix) -> list[list[int]]:
    """What a linear model and a small network answer."""
    models: Sequence[Any] = (
        LogisticRegression(C=0.3, max_iter=200),
        MLPClassifier((64,), early_stopping=True, max_iter=30, random_state=0),
    )
    return [list(model.fit(features, targets).predict(tested)) for model in models]


def refuse_words_that_tell(examples: Sequence[Example]) -> None:
    """Assert that, given any one word, no answer is far from its even share: sharper than any model."""
    answers = len({example.target for example in examples})
    with_word: dict[str, Counter[int]] = {}
    for example in examples:
        for word in set(re.findall(r"\w+", example.text.lower())):
            with_word.setdefault(word, Counter())[example.target] += 1
    for word, counted in with_word.items():
        total = counted.total()
        share = max(counted.values()) / total
        assert share - 1 / answers < 4 * (0.25 / total) ** 0.5, (word, counted)
