"""The captions that an image's own are compared with, its distractors: the same in every run, of the same split.

A caption that also fits the image is none of them: one in the same words as a caption of the image, of another image
of its cluster, or of an image that is known to show the same.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from mtlab.data.base import Example
from mtlab.seeding import derive
from mtlab.tasks.evaluation import Floats


def draw_distractors(examples: Sequence[Example], number: int) -> list[tuple[int, ...]]:
    """Choose captions of other images for each caption of a split, by their rows: those of its family.

    The captions of a family stand in a ring, in random order. Those behind the first caption of an image are chosen
    for all of the image: each in other words, and each of another image. So a caption is chosen about as often as any
    other, unless many have the same words, see `score_commonest`.

    Args:
        examples: of the split.
        number: of captions wanted; fewer are returned where there are no more.

    """
    words = [_words(example.text) for example in examples]
    fitting: dict[str | tuple[str, ...], set[str]] = defaultdict(set)  # words by cluster, and by what an image shows
    rings: dict[str, list[int]] = defaultdict(list)
    of_image: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        for shared in _shared(example):
            fitting[shared].add(words[row])
        rings[example.family].append(row)
        of_image[example.image, example.family].append(row)
    chosen: list[tuple[int, ...]] = [()] * len(examples)
    for ring in rings.values():
        ring.sort(key=lambda row: derive(0, "candidates", examples[row].id))
        behind: dict[str, int] = {}  # words → the next row with them; the nearest is the last
        for row in [*reversed(ring), *reversed(ring)]:  # the second time, all of the ring is behind
            own = of_image[examples[row].image, examples[row].family]
            if row == own[0]:
                found = _nearest(examples, behind, [fitting[shared] for shared in _shared(examples[row])], number)
                for each in own:
                    chosen[each] = found
            behind.pop(words[row], None)
            behind[words[row]] = row
    return chosen


def score_commonest(examples: Sequence[Example], distractors: Sequence[tuple[int, ...]]) -> Floats:
    """Score the best answer without looking at the image: of a caption and its distractors, the commonest, [n].

    A caption that many images share is right as often, and a distractor at most once for each other image. The
    commonest has the words of the most captions of its family; where several have, one of them is drawn.
    """
    words = [(example.family, _words(example.text)) for example in examples]
    counts = Counter(words)
    scores = np.zeros(len(examples))
    for row, chosen in enumerate(distractors):
        common = [counts[words[each]] for each in (row, *chosen)]
        if common[0] == max(common):
            scores[row] = 1 / common.count(common[0])
    return scores


def _shared(example: Example) -> list[str | tuple[str, ...]]:
    """Return what makes a caption of one image fit another: its cluster, and what it shows, if that is known."""
    return [example.cluster, example.objects] if example.objects else [example.cluster]


def _nearest(
    examples: Sequence[Example], behind: dict[str, int], fitting: Sequence[set[str]], number: int
) -> tuple[int, ...]:
    """Return the nearest rows whose words do not fit, one of each image."""
    found: dict[str, int] = {}
    for words in reversed(behind):
        if len(found) == number:
            break
        if not any(words in fit for fit in fitting):
            found.setdefault(examples[behind[words]].image, behind[words])
    return tuple(found.values())


def _words(caption: str) -> str:
    """Return a caption without case, punctuation and further spaces."""
    letters = (" " if unicodedata.category(each).startswith("P") else each for each in caption.casefold())
    return " ".join("".join(letters).split())
