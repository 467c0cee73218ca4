"""Answers of VQAv2: normalisation, the vocabulary, and soft scores of ten annotators.

The rules are those of the benchmark's evaluation, including its oddities, so that scores are comparable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS_WITH_COMMA = re.compile(r"\d,\d")
_LONELY_PERIOD = re.compile(r"\.(?!\d)")
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_CORRECT_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
    weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
    why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""
_SCORES = (0.0, 0.3, 0.6, 0.9)  #: of an answer given by 0, 1, 2 or 3 annotators; from four on it is 1


def _contractions() -> dict[str, str]:
    """Map each contraction without one of its apostrophes to the contraction."""
    table = {
        word[:at] + word[at + 1 :]: word
        for word in _CORRECT_CONTRACTIONS.split()
        for at, letter in enumerate(word)
        if letter == "'"
    }
    return table | {"somebody'd": "somebodyd"}  # an error of the evaluation itself


_CONTRACTIONS = _contractions()


def normalise(answer: str) -> str:
    """Normalise an answer as the evaluation does.

    >>> normalise("The cat."), normalise("Two"), normalise("t-shirt"), normalise("1,000 dont")
    ('cat', '2', 't shirt', "1000 don't")
    """
    with_comma = _DIGITS_WITH_COMMA.search(answer) is not None
    normalised = answer
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        normalised = normalised.replace(mark, "" if beside_space or with_comma else " ")
    normalised = _LONELY_PERIOD.sub("", normalised).lower()
    words = [_NUMBERS.get(word, word) for word in normalised.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES).replace(",", "")


def choose_vocabulary(answers: Iterable[str], min_count: int) -> tuple[str, ...]:
    """Return the answers that occur at least `min_count` times, in the order of their first occurrence."""
    counts = Counter(answers)
    return tuple(answer for answer, count in counts.items() if count >= min_count)


def soft_scores(given: Sequence[str], labels: Mapping[str, int]) -> list[tuple[int, float]]:
    """Score the answers of a question by their number of annotators, without those outside the vocabulary."""
    counts = Counter(answer for answer in given if answer in labels)
    return [(labels[answer], _SCORES[count] if count < len(_SCORES) else 1.0) for answer, count in counts.items()]
