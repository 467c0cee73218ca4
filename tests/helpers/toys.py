"""Toy data for every task: pictures of one colour and pattern, and simple texts about them. Splits are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 220),
    "white": (240, 240, 240),
    "black": (10, 10, 10),
    "yellow": (230, 220, 20),
}
PATTERNS = ("plain", "barred", "striped", "dotted")
KINDS = tuple((colour, pattern) for pattern in PATTERNS for colour in COLOURS)  # 24


def picture(kind: int) -> NDArray[np.uint8]:
    """Draw a picture, [16, 16, 3]."""
    colour, pattern = KINDS[kind % len(KINDS)]
    image = np.empty((16, 16, 3), np.uint8)
    image[:] = COLOURS[colour]
    rows = {"plain": (), "barred": range(0, 16, 4), "striped": (), "dotted": range(0, 16, 4)}[pattern]
    columns = {"plain": (), "barred": (), "striped": range(0, 16, 4), "dotted": range(0, 16, 4)}[pattern]
    for row in rows:
        image[row, :: 4 if pattern == "dotted" else 1] = 128
    for column in columns:
        image[:: 4 if pattern == "dotted" else 1, column] = 128
    return image


class Toy(Dataset):
    """Pictures by number; each split has its own keys."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        train: int = option(24, "training examples", minimum=1)
        val: int = option(24, "validation examples", minimum=1)
        test: int = option(24, "test examples", minimum=1)

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        return {split: getattr(config, split) for split in SPLITS}

    def examples(self, split: Split) -> Sequence[Example]:
        return [self.example(split, number) for number in range(self.sizes(self.config)[split])]

    def example(self, split: Split, number: int) -> Example:
        raise NotImplementedError

    def image(self, key: str) -> NDArray[np.uint8]:
        return picture(int(key.rpartition("/")[2]))


@register_dataset("toy_votes")
class Votes(Toy):
    """Questions that ten people answered: seven name the colour, three the next one."""

    provides = frozenset({"answers", "scores"})
    answers = tuple(COLOURS)

    def example(self, split: Split, number: int) -> Example:
        right = number % len(COLOURS)
        other = (right + 1) % len(COLOURS)
        annotators = (*[self.answers[right]] * 7, *[f"a {self.answers[other].title()}."] * 3)
        return Example(
            id=f"{split}/{1000 + number}",
            text="what colour is it?",
            image=f"{split}/{number}",
            target=right,
            family="colour",
            scores=((right, 1.0), (other, 0.9)),
            annotators=annotators if split != "train" else (),
        )


@register_dataset("toy_server")
class Server(Votes):
    """The same, but nobody tells what is right in the test split."""

    @classmethod
    def unlabelled_splits(cls, config: Any) -> frozenset[Split]:  # noqa: ARG003
        return frozenset({"test"})

    def example(self, split: Split, number: int) -> Example:
        told = super().example(split, number)
        if split != "test":
            return told
        return Example(told.id, told.text, told.image, -1, told.family)


@register_dataset("toy_entailment")
class Entailment(Toy):
    """Sentences that a picture contradicts, says nothing of, or entails."""

    answers = ("contradiction", "neutral", "entailment")

    def example(self, split: Split, number: int) -> Example:
        target, colours = number % 3, list(COLOURS)
        own = number % len(colours)
        said = (f"it is {colours[(own + 1) % len(colours)]}", "it is expensive", f"it is {colours[own]}")[target]
        return Example(f"{split}/{number}", said, f"{split}/{number}", target, ("no", "unknown", "yes")[target])


@register_dataset("toy_pairs")
class Pairs(Toy):
    """Is the second picture of the colour that is named? The first is of any."""

    provides = frozenset({"pairs of images"})
    answers = ("False", "True")

    def example(self, split: Split, number: int) -> Example:
        colours, target = list(COLOURS), number % 2
        second = (number * 5) % len(KINDS)
        colour = KINDS[second][0] if target else colours[(colours.index(KINDS[second][0]) + 1) % len(colours)]
        text = f"the right one is {colour}"
        return Example(
            f"{split}/{number}", text, f"{split}/{number}", target, "colour", more_images=(f"{split}/{second}",)
        )


@register_dataset("toy_captions")
class Captions(Toy):
    """Two captions for each of 24 pictures, and a third for every fourth one."""

    provides = frozenset({"captions"})
    answers = ()

    def example(self, split: Split, number: int) -> Example:
        kind, which = number % len(KINDS), number // len(KINDS)
        colour, pattern = KINDS[kind]
        text = (f"a {colour} {pattern} picture", f"this is {pattern} and {colour}", f"{pattern} {colour}")[which % 3]
        return Example(f"{split}/{number}", text, f"{split}/{kind}", -1, pattern)


@register_dataset("toy_silence")
class Silence(Captions):
    """The same, and one of the captions is empty."""

    def example(self, split: Split, number: int) -> Example:
        told = super().example(split, number)
        return replace(told, text="") if number == 3 else told
