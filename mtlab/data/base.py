"""The interface of a data set: examples of a text with one or more images, and the images by key.

No torch here: `mtlab status` and reports read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mtlab.config.registry import NoOptions, Registry

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One example. Examples may share texts and images, which the expert cache stores once."""

    id: str  #: unique in the data set
    text: str
    image: str  #: key for `Dataset.image`, shared by the captions of an image
    target: int  #: index into `Dataset.answers`; −1: there are none, or the right one is not among them (val and test)
    family: str  #: the kind of question, by which reports group
    more_images: tuple[str, ...] = ()  #: keys of further images of the text
    scores: tuple[tuple[int, float], ...] = ()  #: (answer, score) of all answers with a score; `target` is the best
    annotators: tuple[str, ...] = ()  #: raw answers of several annotators; in val and test only
    answer: str = ""  #: the right answer in words, where it may be none of the data set's `answers`
    group: str = ""  #: what it shares with others beyond its image, such as a scene; "": nothing
    worded_scores: tuple[tuple[str, float], ...] = ()  #: (answer in words, score) of those that have no number
    objects: tuple[str, ...] = ()  #: all that its image shows, by name, sorted; (): not known

    @property
    def images(self) -> tuple[str, ...]:
        """The keys of all its images."""
        return (self.image, *self.more_images)

    @property
    def cluster(self) -> str:
        """Its group, or else its image: examples of one cluster are no independent sample."""
        return self.group or self.image


class Dataset:
    """A data set. A subclass registers a name and a nested `Config`.

    `provides` names what tasks need: `answers` (of `Example.target`), `scores` beside them (soft targets and
    annotators' answers), `pairs of images` (with answers), `captions` (a text and its image, without a target),
    `objects` beside them (`Example.objects`, and `named_objects`).
    """

    Config: ClassVar[type[Any]] = NoOptions
    provides: ClassVar[frozenset[str]] = frozenset({"answers"})  #: see `Task.needs`
    location_options: ClassVar[frozenset[str]] = frozenset()  #: options that only locate the files

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Return the number of examples of each split; must be fast, because plans need it."""
        raise NotImplementedError

    @classmethod
    def digest(cls, config: Any) -> str | None:  # noqa: ARG003 - subclasses read it
        """Hash the data outside the options (files on disk), for a run's id; None if they are not available."""
        return ""

    @classmethod
    def offers(cls, config: Any) -> frozenset[str]:  # noqa: ARG003 - subclasses read it
        """Return what tasks may need, see `provides`."""
        return cls.provides

    @classmethod
    def tells_sides(cls, config: Any) -> bool:  # noqa: ARG003 - subclasses read it
        """Return whether texts or answers tell left from right: of mirrored images they would be wrong."""
        return False

    @classmethod
    def unlabelled_splits(cls, config: Any) -> frozenset[Split]:  # noqa: ARG003 - subclasses read it
        """Return the splits without public answers, which a server scores."""
        return frozenset()

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:  # noqa: ARG003 - subclasses read it
        """Return notes for the user that are shown with a plan, a line each."""
        return ()

    @property
    def answers(self) -> Sequence[str]:
        """The possible answers, in the order of `Example.target`."""
        raise NotImplementedError

    def examples(self, split: Split) -> Sequence[Example]:
        """Return all examples of a split, always in the same order."""
        raise NotImplementedError

    def named_objects(self, caption: str) -> tuple[str, ...]:
        """Return the objects that a caption says are there, as `Example.objects`; where `objects` are provided."""
        raise NotImplementedError

    def texts(self, split: Split) -> Iterator[str]:
        """Yield the texts of a split; a data set that does not fit into memory overrides this."""
        return (example.text for example in self.examples(split))

    def sample(self, split: Split, at_most: int) -> Sequence[Example]:  # noqa: ARG002 - subclasses read it
        """Return examples for measurements: all, or a sample of at most `at_most` if they do not fit into memory."""
        return self.examples(split)

    def image(self, key: str) -> NDArray[np.uint8]:
        """Return an image, [H, W, 3] RGB."""
        raise NotImplementedError


DATASETS: Registry[Dataset] = Registry(
    "dataset", ("mtlab.data.worlds", "mtlab.data.datasets"), "mtlab.datasets", Dataset
)
register_dataset = DATASETS.register


def alike_answers(known: Iterable[str]) -> list[str]:
    """Tell of answers that differ in case alone; nothing if there are none."""
    folded: dict[str, list[str]] = {}
    for answer in sorted(known):
        folded.setdefault(answer.casefold(), []).append(answer)
    alike = [same for same in folded.values() if len(same) > 1]
    if not alike:
        return []
    more = f" (and those of {len(alike) - 1} more)" if len(alike) > 1 else ""
    return [f"answers {' and '.join(map(repr, alike[0]))} differ in case alone, and are two answers{more}"]
