"""Data sets in folders of shards: which texts of which folder make each split.

No torch at import, and no image is read before it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtlab.config.hashing import digest
from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, alike_answers, register_dataset
from mtlab.data.progress import track
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.index import IMAGES_PER_SAMPLE, INDEX, Kind
from mtlab.data.shards.samples import SampleRow, TextRecord
from mtlab.data.shards.selection import parse_selection, shared_images
from mtlab.disk_cache import load_or_compute
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.data.shards.streaming.sample_loader import StreamedTexts

ALLOW_PIPE = "MTLAB_ALLOW_PIPE"  #: environment variable: 1 allows data sets to run commands that are named in files
FEW = 50_000  #: records, which take a second or two
PROVIDES: Mapping[Kind, frozenset[str]] = {
    "questions": frozenset({"answers", "scores"}),
    "entailment": frozenset({"answers"}),
    "pairs": frozenset({"pairs of images"}),
    "captions": frozenset({"captions"}),
}


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """Options of a data set in one folder of shards."""

    folder: str = option(
        "", "folder of shards that `mtlab data convert` wrote, a URL (http, s3, gs, hf, …), or pipe:COMMAND {}"
    )
    allow_pipe: bool = option(False, "run the command of a `pipe:`, if MTLAB_ALLOW_PIPE is 1", identity=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", absolute(self.folder))


@dataclass(frozen=True)
class SplitSource:
    """Texts of one folder that belong to a split."""

    name: str  #: of the folder; "" where a data set has only one
    shards: ShardFolder
    selection: str  #: `train`, `val/answerable`, `val[:-1000]`


class ShardedDataset(Dataset):
    """A data set of one kind of sample. A subclass names its folders and the selections that make its splits."""

    kind: ClassVar[Kind | None] = None  #: None: the folder's
    converter: ClassVar[str]  #: that makes its shards
    location_options: ClassVar[frozenset[str]] = frozenset({"folder"})

    @classmethod
    def locations(cls, config: Any) -> Mapping[str, str]:
        """Return the folders in the options, by name."""
        return {"": config.folder} if config.folder else {}

    @classmethod
    def selections(cls, config: Any, opened: Mapping[str, ShardFolder]) -> Mapping[Split, Sequence[tuple[str, str]]]:
        """Return the folders and selections that make each split."""
        raise NotImplementedError

    @classmethod
    def split_sources(cls, config: Any) -> Mapping[Split, tuple[SplitSource, ...]]:
        """Open the folders and return the sources of each split.

        Raises:
            UserError: no folder is given, or one holds another kind of sample.

        """
        locations = cls.locations(config)
        if not locations:
            raise UserError(
                f"needs a folder of shards: `mtlab data convert {cls.converter} --root RAW --out FOLDER` makes it",
                key=next(iter(sorted(cls.location_options))),
            )
        allow_pipe = config.allow_pipe and _pipe_allowed(locations)
        opened = {name: _open(location, allow_pipe, _stamp(location)) for name, location in locations.items()}
        for shards in opened.values():
            if cls.kind not in (None, shards.kind):
                raise UserError(f"holds {shards.kind}, not {cls.kind}", file=Path(shards.storage.name))
        return {
            split: tuple(SplitSource(name, opened[name], selection) for name, selection in parts)
            for split, parts in cls.selections(config, opened).items()
        }

    @classmethod
    def offers(cls, config: Any) -> frozenset[str]:
        """Return what samples of the kind hold."""
        if cls.kind is not None:
            return PROVIDES[cls.kind]
        return PROVIDES[next(part.shards.kind for parts in cls.split_sources(config).values() for part in parts)]

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Number of texts of each split.

        Raises:
            UserError: as `split_sources`; or a split has no text, or no question with an answer that training has.

        """
        sources = cls.split_sources(config)
        sizes = {split: sum(map(_size, parts)) for split, parts in sources.items()}
        for split, size in sizes.items():
            named = ", ".join(part.selection for part in sources[split])
            if not size:
                raise UserError(f"{named} has no text", key=split)
            if all(map(_lacks_answers, sources[split])):
                raise UserError(f"{named}: no question has an answer that training has, too", key=split)
        return sizes

    @classmethod
    def digest(cls, config: Any) -> str | None:
        """Hash the indices of the folders, which hold the checksums of all shards; None where no folder is given."""
        if not cls.locations(config):
            return None
        found = {part.name: part.shards.digest for parts in cls.split_sources(config).values() for part in parts}
        return digest(found, 32)

    @classmethod
    def unlabelled_splits(cls, config: Any) -> frozenset[Split]:
        """Return the splits whose first text has no label."""
        if not cls.locations(config):
            return frozenset()
        return frozenset(split for split, parts in cls.split_sources(config).items() if any(map(_lacks_labels, parts)))

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:
        """Name the splits that cannot be scored here."""
        return tuple(
            f"{split} has no right answers here: its server scores what "
            f"`mtlab eval RUN --split {split} --answers FILE` writes"
            for split in sorted(cls.unlabelled_splits(config))
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._examples: dict[Split, tuple[Example, ...]] = {}

    @cached_property
    def sources(self) -> Mapping[Split, tuple[SplitSource, ...]]:
        """The sources of each split, opened once."""
        return self.split_sources(self.config)

    @property
    def answers(self) -> Sequence[str]:
        """The answers that labels index; none for captions."""
        return next(part.shards for parts in self.sources.values() for part in parts).answers

    def examples(self, split: Split) -> Sequence[Example]:
        """All texts of a split, in the order of the shards."""
        if split not in self._examples:
            self._examples[split] = tuple(self._read(split))
        return self._examples[split]

    def texts(self, split: Split) -> Iterator[str]:
        """Yield the texts of a split; nothing is kept."""
        return (record.text for part in self.sources[split] for record in part.shards.records(part.selection))

    def sample(self, split: Split, at_most: int) -> Sequence[Example]:
        """Return the first examples of each source: shards have their images in random order."""
        each = -(-at_most // len(self.sources[split]))
        return tuple(
            self.example(record, split, source)
            for source in self.sources[split]
            for record in islice(source.shards.records(source.selection), each)
        )

    def image(self, key: str) -> NDArray[np.uint8]:
        """Decode an image, [H, W, 3] RGB."""
        name, _, own = key.rpartition("/")
        shards = next(part.shards for parts in self.sources.values() for part in parts if part.name == name)
        return shards.image(own)

    def stream(self, split: Split) -> StreamedTexts:
        """Stream a split from its shards."""
        from mtlab.data.shards.streaming.sample_loader import StreamedTexts

        return StreamedTexts([(part.shards, part.selection) for part in self.sources[split]])

    def example(self, record: TextRecord, split: Split, source: SplitSource) -> Example:
        """Make an example of a record.

        Args:
            record: of a text in the shards.
            split: annotators' answers are kept in val and test.
            source: where it is from; ids are unique in a part of a folder.

        """
        name, part = source.name, parse_selection(source.selection).part
        keys = tuple(f"{name}/{key}" if name else key for key in record.images)
        best = max(record.scores, key=lambda scored: scored[1], default=(-1, 0.0))[0]
        return Example(
            id="/".join(filter(None, (name, part, record.id))),
            text=record.text,
            image=keys[0],
            target=best if record.label is None else record.label,
            family=record.family,
            more_images=keys[1:],
            scores=record.scores,
            annotators=() if split == "train" else tuple(record.row.get("annotators", ())),
            answer=str(record.row.get("answer", "")),
            group=str(record.row.get("group", "")),
        )

    def _read(self, split: Split) -> Iterator[Example]:
        for source in self.sources[split]:
            for record in source.shards.records(source.selection):
                yield self.example(record, split, source)


@register_dataset("shards")
class OwnShards(ShardedDataset):
    """Your own data as shards, made by `mtlab data convert jsonl` of JSON lines and images.

    Questions, entailment, pairs of images or captions: the kind decides which tasks can be trained.
    """

    converter = "jsonl"

    @dataclass(frozen=True, kw_only=True)
    class Config(ShardOptions):
        train: str = option("", "selection: PART, PART/SUBSET or PART[FIRST:LAST]; empty: train, what can be answered")
        val: str = option("val", "selection for validation")
        test: str = option("test", "selection for the verdict")

    @classmethod
    def selections(cls, config: Any, opened: Mapping[str, ShardFolder]) -> Mapping[Split, Sequence[tuple[str, str]]]:
        """Return the selections in the options."""
        part = opened[""].index.parts.get("train")
        learnable = "train/answerable" if part is not None and "answerable" in part.subsets else "train"
        return {"train": [("", config.train or learnable)], "val": [("", config.val)], "test": [("", config.test)]}

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:
        """Name the splits that cannot be scored here, answers that cannot be chosen, and images that splits share."""
        remarks = list(super().remarks(config))
        if not cls.locations(config):
            return remarks
        sources = {split: source for split, (source,) in cls.split_sources(config).items()}
        chosen = parse_selection(config.train) if config.train else None
        if chosen is not None and chosen.subset != "answerable" and (unknown := _count_unknown(sources["train"])):
            problem = f"{unknown:,} of {_size(sources['train']):,} questions have an answer that cannot be chosen"
            raise UserError(f"{problem}: leave them out, as {chosen.part}/answerable does", key="train")
        if sources["train"].shards.kind == "questions":
            remarks += alike_answers(sources["train"].shards.answers)
        remarks += [
            f"{unknown:,} of {_size(sources[split]):,} {split} questions have an answer that cannot be chosen: they "
            "count as wrong, unless answers are generated"
            for split in SPLITS[1:]
            if (unknown := _count_unknown(sources[split]))
        ]
        for (one, first), (other, second) in combinations(sources.items(), 2):
            if count := _count_shared(first, second):
                remarks.append(
                    f"{one} ({first.selection}) and {other} ({second.selection}) have {count:,} images in common"
                )
            elif count := _count_shared_groups(first, second):
                remarks.append(f"{count:,} groups of {other} are in {one}, too: its scores may be flattering")
        return remarks


def absolute(location: str) -> str:
    """Make a folder's path absolute; URLs and commands are returned unchanged."""
    if not location or "://" in location or location.startswith("pipe:"):
        return location
    return str(Path(location).expanduser().absolute())


def _stamp(location: str) -> tuple[int, int] | None:
    """Return size and modification time of a folder's index, to notice changes; None for a remote one."""
    try:
        status = (Path(location) / INDEX).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _pipe_allowed(locations: Mapping[str, str]) -> bool:
    """Say whether there are commands to run, which the user must allow: a recipe of others must not run any by itself.

    Raises:
        UserError: there are commands, and the user has not allowed them.

    """
    commands = [location for location in locations.values() if location.startswith("pipe:")]
    if commands and os.environ.get(ALLOW_PIPE) != "1":
        raise UserError(
            f"{commands[0]!r} runs a command that a file names: set {ALLOW_PIPE}=1 in the environment if you trust it",
            key="allow_pipe",
        )
    return bool(commands)


@lru_cache(maxsize=16)
def _open(location: str, allow_pipe: bool, _stamp: tuple[int, int] | None) -> ShardFolder:
    return ShardFolder(location, allow_pipe=allow_pipe)


def _size(part: SplitSource) -> int:
    """Count the texts of a source; of a slice all rows are read, once."""
    if "[" not in part.selection:
        return part.shards.size(part.selection)
    return _count_once("texts", [part], lambda: part.shards.size(part.selection))


def _count_unknown(part: SplitSource) -> int:
    """Count the questions whose right answer is known, but is none of training."""
    if part.shards.kind != "questions" or _lacks_labels(part):
        return 0

    def count() -> int:
        records = track(part.shards.records(part.selection), "reading questions", _size(part), few=FEW)
        return sum(not record.scores for record in records)

    return _count_once("unknown", [part], count)


def _count_shared(one: SplitSource, other: SplitSource) -> int:
    """Count the images that two sources of a folder have in common."""
    first, second = (parse_selection(each.selection) for each in (one, other))
    if first.part == second.part and IMAGES_PER_SAMPLE[one.shards.kind] == 1:  # pairs may share one of theirs
        return shared_images(one.shards.index, first, second)
    return _count_once("shared", [one, other], lambda: len(_image_names(one) & _image_names(other)))


def _count_shared_groups(one: SplitSource, other: SplitSource) -> int:
    """Count the groups of texts that two sources of a folder have in common."""
    return _count_once("groups", [one, other], lambda: len(_groups(one) & _groups(other)))


def _image_names(part: SplitSource) -> set[str]:
    return {name for row in _rows(part) for name in row.names}


def _groups(part: SplitSource) -> set[str]:
    return {text["group"] for row in _rows(part) for text in row.texts if "group" in text}


def _rows(part: SplitSource) -> Iterator[SampleRow]:
    for each in part.shards.slices(part.selection):
        yield from part.shards.rows(each.shard)[each.first : each.last]


def _count_once(what: str, parts: Sequence[SplitSource], count: Callable[[], int]) -> int:
    """Count what asks for reading many rows, once for all plans."""
    key = [parts[0].shards.digest, *(part.selection for part in parts)]
    return int(load_or_compute(f"shards-{what}", key, count))


def _lacks_labels(part: SplitSource) -> bool:
    record = next(part.shards.records(part.selection), None)
    if record is None or part.shards.kind == "captions":
        return False
    return "labels" not in record.row if part.shards.kind == "questions" else record.label is None


def _lacks_answers(part: SplitSource) -> bool:
    if part.shards.kind != "questions" or _lacks_labels(part):
        return False
    return not any(record.scores for record in part.shards.records(part.selection))
