"""The data sets of the published results, as shards of their files.

Plans and budgets need no files: sizes are known here, and ids are provisional. `official: true` makes splits as the
released code of METER, BridgeTower and ManagerTower does, which trains on validation data, or chooses by test data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mtlab.config.options import option
from mtlab.data.base import Split, register_dataset
from mtlab.data.shards.dataset import PROVIDES, ShardedDataset, ShardOptions, absolute
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.selection import Selection, find_part
from mtlab.errors import UserError

Selections = Mapping[Split, Sequence[tuple[str, str]]]
VALIDATION_IMAGES = 2000  #: of VQAv2's val; the others test


class PublishedDataset(ShardedDataset):
    """A data set whose sizes and answers are known without its files."""

    placeholders: ClassVar[Sequence[str]] = ()  #: answers, without the files
    texts_of: ClassVar[Mapping[Split, int]]  #: number of texts of each split, as published
    official_texts_of: ClassVar[Mapping[Split, int]]  #: with `official`
    parts_of: ClassVar[Mapping[Split, Sequence[str]]]  #: selections of its folder that make each split
    official_parts_of: ClassVar[Mapping[Split, Sequence[str]]]

    @classmethod
    def selections(cls, config: Any, opened: Mapping[str, ShardFolder]) -> Selections:  # noqa: ARG003 - the folder does not matter
        """Return the selections of the one folder."""
        parts = cls.official_parts_of if _official(config) else cls.parts_of
        return {split: [("", part) for part in own] for split, own in parts.items()}

    @classmethod
    def offers(cls, config: Any) -> frozenset[str]:  # noqa: ARG003 - known without files
        """Return what samples of the kind hold."""
        assert cls.kind is not None, "a published data set is of one kind"
        return PROVIDES[cls.kind]

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Return the number of texts of each split: of the files, or as published."""
        if cls.locations(config):
            return super().sizes(config)
        return cls.official_texts_of if _official(config) else cls.texts_of

    @property
    def answers(self) -> Sequence[str]:
        """The answers; without the files, as many placeholders."""
        return super().answers if self.locations(self.config) else self.placeholders


@dataclass(frozen=True, kw_only=True)
class OfficialOptions(ShardOptions):
    """Options of data sets whose official splits differ."""

    official: bool = option(False, "splits as in the released code, which trains or chooses on what belongs apart")


def _official(config: Any) -> bool:
    return isinstance(config, OfficialOptions) and config.official


@register_dataset("vqav2")
class VQAv2(PublishedDataset):
    """VQAv2: questions about images of COCO, ten answers each; the commonest 3129 can be given.

    Trained on train; the last 2,000 images of val choose, the others judge, since the answers of test are not public.
    `official`: trained on train and val, chosen by val, tested on test-dev: 107,394 questions whose answers
    `mtlab eval --answers` writes for the server (Goyal et al., CVPR 2017). Questions that none of the 3129 answers are
    left out of training, and of `official` val.
    """

    kind = "questions"
    converter = "vqav2"
    placeholders = tuple(f"answer {number}" for number in range(3129))
    texts_of: ClassVar[Mapping[Split, int]] = {"train": 435_174, "val": 10_600, "test": 214_354 - 10_600}  # val: about
    official_texts_of: ClassVar[Mapping[Split, int]] = {"train": 435_174 + 210_207, "val": 210_207, "test": 107_394}
    official_parts_of: ClassVar[Mapping[Split, Sequence[str]]] = {
        "train": ["train/answerable", "val/answerable"],
        "val": ["val/answerable"],
        "test": ["test/test-dev"],
    }

    Config = OfficialOptions

    @classmethod
    def selections(cls, config: OfficialOptions, opened: Mapping[str, ShardFolder]) -> Selections:
        """Split val in two, in the fixed random order of the shards."""
        if config.official:
            return super().selections(config, opened)
        images = find_part(opened[""].index, Selection("val")).images
        last = min(VALIDATION_IMAGES, images // 2)  # where only some of the data are here, half
        return {"train": [("", "train/answerable")], "val": [("", f"val[-{last}:]")], "test": [("", f"val[:-{last}]")]}

    @classmethod
    def unlabelled_splits(cls, config: OfficialOptions) -> frozenset[Split]:
        """Return test, whose answers only the server has."""
        return frozenset({"test"}) if config.official else frozenset()


@register_dataset("snli_ve")
class SnliVe(PublishedDataset):
    """SNLI-VE: does an image of Flickr30K entail a sentence? Sizes: Xie et al. 2019, table 1."""

    kind = "entailment"
    converter = "snli_ve"
    placeholders = ("contradiction", "neutral", "entailment")
    texts_of: ClassVar[Mapping[Split, int]] = {"train": 529_527, "val": 17_858, "test": 17_901}
    parts_of: ClassVar[Mapping[Split, Sequence[str]]] = {"train": ["train"], "val": ["dev"], "test": ["test"]}

    Config = ShardOptions


@register_dataset("nlvr2")
class Nlvr2(PublishedDataset):
    """NLVR²: is a sentence true of two images? Val is dev, test is test-P. Sizes: Suhr et al., ACL 2019."""

    kind = "pairs"
    converter = "nlvr2"
    placeholders = ("False", "True")
    texts_of: ClassVar[Mapping[Split, int]] = {"train": 86_373, "val": 6_982, "test": 6_967}
    parts_of: ClassVar[Mapping[Split, Sequence[str]]] = {"train": ["train"], "val": ["dev"], "test": ["test1"]}

    Config = ShardOptions


@register_dataset("flickr30k")
class Flickr30K(PublishedDataset):
    """Flickr30K, Karpathy's split: 29,000, 1,014 and 1,000 images with five captions each.

    `official`: trained on train and val, chosen and judged by test.
    """

    kind = "captions"
    converter = "flickr30k"
    texts_of: ClassVar[Mapping[Split, int]] = {"train": 29_000 * 5, "val": 1_014 * 5, "test": 5_000}
    parts_of: ClassVar[Mapping[Split, Sequence[str]]] = {"train": ["train"], "val": ["val"], "test": ["test"]}
    official_texts_of: ClassVar[Mapping[Split, int]] = {"train": (29_000 + 1_014) * 5, "val": 5_000, "test": 5_000}
    official_parts_of: ClassVar[Mapping[Split, Sequence[str]]] = {
        "train": ["train", "val"],
        "val": ["test"],
        "test": ["test"],
    }

    Config = OfficialOptions


@register_dataset("coco")
class Coco(PublishedDataset):
    """COCO's captions, Karpathy's split: 113,287, 5,000 and 5,000 images with five captions each.

    Trained on train and restval. `official`: chosen and judged by test.
    """

    kind = "captions"
    converter = "coco"
    texts_of: ClassVar[Mapping[Split, int]] = {"train": 566_747, "val": 25_010, "test": 25_010}
    parts_of: ClassVar[Mapping[Split, Sequence[str]]] = {
        "train": ["train", "restval"],
        "val": ["val"],
        "test": ["test"],
    }
    official_texts_of = texts_of
    official_parts_of: ClassVar[Mapping[Split, Sequence[str]]] = {**parts_of, "val": ["test"]}

    Config = OfficialOptions


@register_dataset("captions4m")
class Captions4M(PublishedDataset):
    """The pre-training corpus of four million images: COCO, Visual Genome, SBU and Conceptual Captions.

    A folder of shards for each; those that are not given are left out. Captions, about: 567 thousand of COCO, 4.8
    million of Visual Genome, 860 thousand of SBU, 2.9 million of Conceptual Captions (BridgeTower, AAAI 2023).
    Val and test: COCO's, or else two halves of Conceptual Captions' val.
    """

    kind = "captions"
    converter = "coco"
    location_options: ClassVar[frozenset[str]] = frozenset({"coco", "vg", "sbu", "cc3m"})
    texts_of: ClassVar[Mapping[Split, int]] = {
        "train": 567_000 + 4_800_000 + 2_900_000 + 860_000,
        "val": 25_010,
        "test": 25_010,
    }

    @dataclass(frozen=True, kw_only=True)
    class Config:
        coco: str = option("", "shards of COCO's captions")
        vg: str = option("", "shards of Visual Genome's region descriptions")
        sbu: str = option("", "shards of SBU")
        cc3m: str = option("", "shards of Conceptual Captions")
        allow_pipe: bool = option(False, "run the command of a `pipe:`, if MTLAB_ALLOW_PIPE is 1", identity=False)

        def __post_init__(self) -> None:
            for name in _FOLDERS:
                object.__setattr__(self, name, absolute(getattr(self, name)))
            if (self.vg or self.sbu) and not (self.coco or self.cc3m):
                raise UserError("is needed, or cc3m: the others have nothing to validate on", key="coco")

    @classmethod
    def locations(cls, config: Any) -> Mapping[str, str]:
        """Return the folders in the options."""
        return {name: getattr(config, name) for name in _FOLDERS if getattr(config, name)}

    @classmethod
    def selections(cls, config: Any, opened: Mapping[str, ShardFolder]) -> Selections:  # noqa: ARG003 - as opened
        """Return all training data."""
        train = [(name, "train") for name in opened] + [("coco", "restval")] * ("coco" in opened)
        if "coco" in opened:
            return {"train": train, "val": [("coco", "val")], "test": [("coco", "test")]}
        half = find_part(opened["cc3m"].index, Selection("val")).images // 2
        return {"train": train, "val": [("cc3m", f"val[:{half}]")], "test": [("cc3m", f"val[{half}:]")]}

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:
        """Describe what Visual Genome shares with COCO."""
        if not (config.vg and config.coco):
            return ()
        return (
            "about half of Visual Genome's pictures are COCO's, also of its val and test: trained on, as published",
        )


_FOLDERS = ("coco", "vg", "sbu", "cc3m")
