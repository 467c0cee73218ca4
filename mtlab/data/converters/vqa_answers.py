"""Answers of VQAv2: how they are normalised, which make the vocabulary, and how ten people's answers become scores.

The rules are those of the benchmark's evaluation, oddities included: scores can only be compared if every answer goes
through the same ones.
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
_CONTRACTIONS_SPELT_RIGHT = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
    weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
    why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""
_SCORES = (0.0, 0.3, 0.6, 0.9)  #: of an answer that 0, 1, 2 or 3 people gave; from four on it is 1


def _misspelt() -> dict[str, str]:
    """Each contraction by what it is when just one of its apostrophes is left out."""
    table = {
        word[:at] + word[at + 1 :]: word
        for word in _CONTRACTIONS_SPELT_RIGHT.split()
        for at, letter in enumerate(word)
        if letter == "'"
    }
    return table | {"somebody'd": "somebodyd"}  # a slip of the evaluation's own


_CONTRACTIONS = _misspelt()


def normalise(answer: str) -> str:
    """Bring an answer to the form in which the evaluation compares it.

    >>> normalise("The cat."), normalise("Two"), normalise("t-shirt"), normalise("1,000 dont")
    ('cat', '2', 't shirt', "1000 don't")
    """
    with_comma = _DIGITS_WITH_COMMA.search(answer) is not None
    found = answer
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        found = found.replace(mark, "" if beside_space or with_comma else " ")
    found = _LONELY_PERIOD.sub("", found).lower()
    words = [_NUMBERS.get(word, word) for word in found.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES).replace(",", "")


def vocabulary(answers: Iterable[str], min_count: int) -> tuple[str, ...]:
    """Choose the answers that can be given: those that occur often, in the order in which they first do."""
    counts = Counter(answers)
    return tuple(answer for answer, count in counts.items() if count >= min_count)


def soft_scores(given: Sequence[str], labels: Mapping[str, int]) -> list[tuple[int, float]]:
    """Score the answers of a question by how many people gave them; answers outside the vocabulary are dropped."""
    counts = Counter(answer for answer in given if answer in labels)
    return [(labels[answer], _SCORES[count] if count < len(_SCORES) else 1.0) for answer, count in counts.items()]
