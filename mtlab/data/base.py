"""The interface of a data set: examples that pair a text with an image, and the images by key.

No torch here: `mtlab status` and the analyses may read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mtlab.config.registry import NoOptions, Registry

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One example. Texts and images may be shared between examples; the expert cache stores each once."""

    id: str  #: unique in the data set
    text: str
    image: str  #: key for `Dataset.image`; captions of one picture have the same
    target: int  #: index into `Dataset.answers`; −1: there are none, or in val and test the right one is not among them
    family: str  #: the kind of question, for reports by family
    more_images: tuple[str, ...] = ()  #: keys of the other pictures, where a text goes with several
    scores: tuple[
        tuple[int, float], ...
    ] = ()  #: (answer, score) of all that are right to some degree; `target`: the best
    annotators: tuple[str, ...] = ()  #: what each of several people answered, as written; in val and test alone

    @property
    def images(self) -> tuple[str, ...]:
        """The keys of all its pictures."""
        return (self.image, *self.more_images)


class Dataset:
    """A data set. A subclass registers a name, a nested `Config`, and says what it holds.

    What tasks may need, by the words of `provides`: `answers` (of `Example.target`), `scores` beside them (soft
    targets, and what annotators answered), `pairs of images` (with answers), `captions` (a text and its picture alone).
    """

    Config: ClassVar[type[Any]] = NoOptions
    provides: ClassVar[frozenset[str]] = frozenset({"answers"})  #: what tasks may need: see `Task.needs`
    location_options: ClassVar[frozenset[str]] = frozenset()  #: options that only say where the digested files lie

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Number of examples of each split, cheaply: asked for at plan time."""
        raise NotImplementedError

    @classmethod
    def digest(cls, config: Any) -> str | None:  # noqa: ARG003 - worlds are identified by name, version and options
        """Identify what lies outside the options (files on disk): part of a run's id; None where it cannot be had."""
        return ""

    @classmethod
    def offers(cls, config: Any) -> frozenset[str]:  # noqa: ARG003 - a subclass whose options decide reads them
        """Say what tasks may need it for, see `provides`."""
        return cls.provides

    @classmethod
    def hidden(cls, config: Any) -> frozenset[Split]:  # noqa: ARG003 - most data sets are whole
        """Name the splits whose right answers are not public: they are answered for their server, never scored."""
        return frozenset()

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:  # noqa: ARG003 - most data sets are as they should be
        """Tell what a user should know of the data before training on it, a line each: shown with a plan."""
        return ()

    @property
    def answers(self) -> Sequence[str]:
        """The answers that can be given, in the order of `Example.target`."""
        raise NotImplementedError

    def examples(self, split: Split) -> Sequence[Example]:
        """All examples of a split, always in the same order."""
        raise NotImplementedError

    def texts(self, split: Split) -> Iterator[str]:
        """Go through the texts of a split; one that is too large to be held overrides this."""
        return (example.text for example in self.examples(split))

    def sample(self, split: Split, at_most: int) -> Sequence[Example]:  # noqa: ARG002 - a subclass reads it
        """Give examples to measure by: all, or where these are too many to be held at most so many, of all kinds."""
        return self.examples(split)

    def image(self, key: str) -> NDArray[np.uint8]:
        """The pixels of an image, [H, W, 3] RGB."""
        raise NotImplementedError


DATASETS: Registry[Dataset] = Registry(
    "dataset", ("mtlab.data.worlds", "mtlab.data.datasets"), "mtlab.datasets", Dataset
)
register_dataset = DATASETS.register
