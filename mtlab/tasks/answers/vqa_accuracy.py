"""The official accuracy of VQAv2: how far an answer agrees with what ten people answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from mtlab.data.converters.vqa_answers import normalise

ENOUGH = 3  #: of the other people make an answer wholly right


def vqa_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """Score an answer against annotators': leave out each in turn, and average min(1, agreeing others / 3).

    All answers are normalised first. Source: Antol et al., ICCV 2015.

    >>> vqa_accuracy("2", ["two", "Two.", "2"] + ["three"] * 7)
    0.9
    """
    answers = [_normalised(each) for each in annotators]
    agreeing, people = answers.count(_normalised(answer)), len(answers)
    without_one, without_another = min(agreeing - 1, ENOUGH), min(agreeing, ENOUGH)
    return (agreeing * without_one + (people - agreeing) * without_another) / (ENOUGH * people)


_normalised = lru_cache(maxsize=2**16)(normalise)  # people's answers repeat
