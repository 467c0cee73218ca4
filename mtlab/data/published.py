"""The data sets of the published results: what a plan and a budget must know of them, without a file on this disk.

Sizes are those that the authors' code trains and validates on. No reader of the real files comes with this version:
a plan counts such a data set as unresolved, and `mtlab run` refuses before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtlab.data.base import Dataset, Example, Split, register_dataset
from mtlab.errors import UserError


class PublishedDataset(Dataset):
    """A data set of which sizes and answers alone are known here."""

    published_sizes: ClassVar[Mapping[Split, int]]
    published_answers: ClassVar[Sequence[str]]

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:  # noqa: ARG003 - there is nothing to choose
        """Number of examples of each split, as published."""
        return cls.published_sizes

    @classmethod
    def digest(cls, config: Any) -> str | None:  # noqa: ARG003 - no files, whatever the options
        """None: its files cannot be read yet, so that ids are provisional."""
        return None

    @property
    def answers(self) -> Sequence[str]:
        """The answers; of VQAv2 the number alone is known without its files."""
        return self.published_answers

    def examples(self, split: Split) -> Sequence[Example]:
        """Refuse: there is no reader.

        Raises:
            UserError: always.

        """
        raise UserError(f"the {split} examples cannot be read: {no_reader(type(self).__name__)}", key="data.name")

    def image(self, key: str) -> NDArray[np.uint8]:
        """Refuse, as `examples` does."""
        raise UserError(f"image {key!r} cannot be read: {no_reader(type(self).__name__)}", key="data.name")


def no_reader(name: str) -> str:
    """Say why a published data set cannot be trained on, and what can be done with it."""
    return f"this version plans and budgets {name} but has no reader for its files"


@register_dataset("vqav2")
class VQAv2(PublishedDataset):
    """VQAv2, the 3129 commonest answers: train + val for training, val for choosing, test-dev for the verdict.

    Questions with at least one of these answers: 435,174 of train and 210,207 of val, both trained on, as in the code
    of METER, BridgeTower and ManagerTower. Test-dev: 107,394 questions (Goyal et al., CVPR 2017).
    """

    published_sizes: ClassVar[Mapping[Split, int]] = {"train": 435_174 + 210_207, "val": 210_207, "test": 107_394}
    published_answers = tuple(f"answer {number}" for number in range(3129))


@register_dataset("snli_ve")
class SnliVe(PublishedDataset):
    """SNLI-VE: does a picture of Flickr30K entail a sentence? Sizes: Xie et al. 2019, table 1."""

    published_sizes: ClassVar[Mapping[Split, int]] = {"train": 529_527, "val": 17_858, "test": 17_901}
    published_answers = ("contradiction", "neutral", "entailment")


@register_dataset("nlvr2")
class Nlvr2(PublishedDataset):
    """NLVR²: is a sentence true of two pictures? Val is dev, test is test-P. Sizes: Suhr et al., ACL 2019."""

    provides = frozenset({"pairs of images"})
    published_sizes: ClassVar[Mapping[Split, int]] = {"train": 86_373, "val": 6_982, "test": 6_967}
    published_answers = ("False", "True")


@register_dataset("flickr30k")
class Flickr30K(PublishedDataset):
    """Flickr30K, Karpathy's split, five captions a picture: train + val for training, test for choosing and verdict.

    Pairs of a picture and a caption: (29,000 + 1,014) × 5 for training, 1,000 × 5 otherwise. That the checkpoint is
    chosen on test data is the published code's doing.
    """

    provides = frozenset({"captions"})
    published_sizes: ClassVar[Mapping[Split, int]] = {"train": (29_000 + 1_014) * 5, "val": 5_000, "test": 5_000}
    published_answers = ()


@register_dataset("captions4m")
class Captions4M(PublishedDataset):
    """The pre-training corpus of four million pictures: COCO, Visual Genome, Conceptual Captions and SBU.

    Captions, about: 567 thousand of COCO, 4.8 million of Visual Genome, 2.9 million of Conceptual Captions, 860
    thousand of SBU (BridgeTower, AAAI 2023, appendix: statistics of the pre-training data). Val and test: COCO's.
    """

    provides = frozenset({"captions"})
    published_sizes: ClassVar[Mapping[Split, int]] = {
        "train": 567_000 + 4_800_000 + 2_900_000 + 860_000,
        "val": 25_010,
        "test": 25_010,
    }
    published_answers = ()
