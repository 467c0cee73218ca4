"""`easy_vqa`: small images of one shape each with simple questions, from a PyPI package."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset
from mtlab.data.file_digests import content_digest
from mtlab.data.image_files import read_image
from mtlab.errors import UserError

PARTS = ("train", "test")  #: what the package has
FIRST_VALIDATION = 3500  #: images of its training part from this number on are validated on


@dataclass(frozen=True)
class EasyVqaQuestion:
    """A question of the package."""

    id: str  #: "train/17": the part and its place there
    text: str
    answer: str
    image: str  #: "train/3": the part and the image's number

    @property
    def split(self) -> Split:
        """Its split, which all questions about an image share."""
        part, _, number = self.image.partition("/")
        if part == "test":
            return "test"
        return "val" if int(number) >= FIRST_VALIDATION else "train"


@register_dataset("easy_vqa")
class EasyVqa(Dataset):
    """easy-VQA: 5,000 images of 64 × 64 pixels with one shape each, 48,248 questions, 13 answers. Needs `easy-vqa`.

    The package has 4,000 images for training and 1,000 for testing. Of the former, the last 500 (numbers 3500 to
    3999, with all of their questions) are set aside for validation. Families: colour (what colour is the circle?),
    shape (what is the blue shape?), presence (is there a circle?), absence (is there no circle?). Words alone answer
    67 %. A first set of real data, but too easy to tell managers apart. Source: V. Zhou, github.com/vzhou842/easy-VQA.
    """

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:  # noqa: ARG003 - there is nothing to choose
        """Number of questions of each split."""
        questions = _read_questions(_folder())
        return {split: sum(question.split == split for question in questions) for split in SPLITS}

    @classmethod
    def digest(cls, config: Any) -> str:  # noqa: ARG003 - there is one easy-VQA
        """Hash the package's questions, answers and images."""
        images = [
            f"{image}.png" for image in sorted({_file(question.image) for question in _read_questions(_folder())})
        ]
        return content_digest(_folder(), ["answers.txt", *(f"{part}/questions.json" for part in PARTS), *images])

    @cached_property
    def answers(self) -> Sequence[str]:
        """The answers in the package's order."""
        return _answers(_folder())

    def examples(self, split: Split) -> Sequence[Example]:
        """All questions of a split, in the package's order."""
        target = {answer: index for index, answer in enumerate(self.answers)}
        return tuple(
            Example(question.id, question.text, question.image, target[question.answer], family(question.text))
            for question in _read_questions(_folder())
            if question.split == split
        )

    def image(self, key: str) -> NDArray[np.uint8]:
        """Read an image, `train/NUMBER` or `test/NUMBER`, [64, 64, 3] RGB.

        Raises:
            KeyError: no such image.
            UserError: the package's file is damaged.

        """
        if not re.fullmatch(rf"({'|'.join(PARTS)})/[0-9]+", key):
            raise KeyError(key)
        return read_image(_folder() / f"{_file(key)}.png")


def family(question: str) -> str:
    """Classify a question by its words.

    >>> family("what is the color of the circle?"), family("what shape is present?")
    ('colour', 'shape')
    >>> family("does the image contain a circle?"), family("is there not a red shape?")
    ('presence', 'absence')
    """
    words = question.rstrip("?").split()
    if words[0] == "what":
        return "colour" if "color" in words else "shape"
    return "absence" if {"not", "no"} & set(words) else "presence"


def _folder() -> Path:
    from mtlab.towers.loading.weights import package_folder

    return package_folder("easy_vqa", "easy-vqa") / "data"


def _file(image: str) -> str:
    part, _, number = image.partition("/")
    return f"{part}/images/{number}"


@lru_cache(maxsize=1)
def _answers(folder: Path) -> tuple[str, ...]:
    return tuple((folder / "answers.txt").read_text(encoding="utf-8").split())


@lru_cache(maxsize=1)
def _read_questions(folder: Path) -> tuple[EasyVqaQuestion, ...]:
    """Read the questions of both parts.

    Raises:
        UserError: the package is damaged.

    """
    known = set(_answers(folder))
    found = []
    for part in PARTS:
        path = folder / part / "questions.json"
        try:
            rows = enumerate(json.loads(path.read_bytes()))
            questions = [
                EasyVqaQuestion(f"{part}/{at}", text, answer, f"{part}/{int(image)}")
                for at, (text, answer, image) in rows
            ]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"cannot be read ({error}): install the package easy-vqa anew", file=path) from None
        if not {one.answer for one in questions} <= known:
            raise UserError("has answers that answers.txt lacks: install the package easy-vqa anew", file=path)
        found += questions
    return tuple(found)
