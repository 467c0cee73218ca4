"""Data sets that lie in folders of shards: which texts of which folder make which split.

No torch here, and no image is read before it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtlab.config.hashing import digest
from mtlab.config.options import option
from mtlab.data.base import Dataset, Example, Split, register_dataset
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.index import INDEX, Kind
from mtlab.data.shards.samples import Record
from mtlab.data.shards.selection import parse_selection, shared_images
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.data.shards.streaming.sample_loader import StreamedTexts

ALLOW_PIPE = "MTLAB_ALLOW_PIPE"  #: environment variable: 1 lets data sets run the commands that files name
PROVIDES: Mapping[Kind, frozenset[str]] = {
    "questions": frozenset({"answers", "scores"}),
    "entailment": frozenset({"answers"}),
    "pairs": frozenset({"pairs of images"}),
    "captions": frozenset({"captions"}),
}


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """Options of whatever lies in one folder of shards."""

    folder: str = option("", "folder of shards that `mtlab data convert` wrote, or http(s)://… or pipe:COMMAND {}")
    allow_pipe: bool = option(False, "run the command of a `pipe:`, if MTLAB_ALLOW_PIPE is 1", identity=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", absolute(self.folder))


@dataclass(frozen=True)
class SplitSource:
    """Some texts of one folder."""

    name: str  #: of the folder, where a data set has several
    shards: ShardFolder
    selection: str  #: `train`, `val/answerable`, `val[:-1000]`


class ShardedDataset(Dataset):
    """A data set of one kind. A subclass says where its folders are, and what its splits are made of."""

    kind: ClassVar[Kind | None] = None  #: None: whatever the folder holds
    converter: ClassVar[str]  #: makes its shards
    location_options: ClassVar[frozenset[str]] = frozenset({"folder"})

    @classmethod
    def locations(cls, config: Any) -> Mapping[str, str]:
        """Name the folders that the options give."""
        return {"": config.folder} if config.folder else {}

    @classmethod
    def selections(cls, config: Any, opened: Mapping[str, ShardFolder]) -> Mapping[Split, Sequence[tuple[str, str]]]:
        """Say what each split is made of: names of folders, and selections."""
        raise NotImplementedError

    @classmethod
    def split_sources(cls, config: Any) -> Mapping[Split, tuple[SplitSource, ...]]:
        """Open the folders, and find what each split is made of.

        Raises:
            UserError: there are none, or they hold something else.

        """
        found = cls.locations(config)
        if not found:
            raise UserError(
                f"needs a folder of shards: `mtlab data convert {cls.converter} --root RAW --out FOLDER` makes it",
                key=next(iter(sorted(cls.location_options))),
            )
        piped = config.allow_pipe and _commands_may_run(found)
        opened = {name: _opened(location, piped, _stamp(location)) for name, location in found.items()}
        for shards in opened.values():
            if cls.kind not in (None, shards.kind):
                raise UserError(f"holds {shards.kind}, not {cls.kind}", file=Path(shards.storage.name))
        return {
            split: tuple(SplitSource(name, opened[name], selection) for name, selection in parts)
            for split, parts in cls.selections(config, opened).items()
        }

    @classmethod
    def offers(cls, config: Any) -> frozenset[str]:
        """What samples of the kind hold."""
        if cls.kind is not None:
            return PROVIDES[cls.kind]
        return PROVIDES[next(part.shards.kind for parts in cls.split_sources(config).values() for part in parts)]

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Number of texts of each split."""
        return {split: sum(map(_size, parts)) for split, parts in cls.split_sources(config).items()}

    @classmethod
    def digest(cls, config: Any) -> str | None:
        """Identify the shards by their indices, which hold a checksum of each; None where no folder is given."""
        if not cls.locations(config):
            return None
        found = {part.name: part.shards.digest for parts in cls.split_sources(config).values() for part in parts}
        return digest(found, 32)

    @classmethod
    def hidden(cls, config: Any) -> frozenset[Split]:
        """Tell the splits whose first text comes without its truth."""
        if not cls.locations(config):
            return frozenset()
        return frozenset(split for split, parts in cls.split_sources(config).items() if any(map(_untold, parts)))

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:
        """Tell what cannot be scored here."""
        told = "has no right answers here: its server scores what `mtlab eval RUN --split {0} --answers FILE` writes"
        return tuple(f"{split} {told.format(split)}" for split in sorted(cls.hidden(config)))

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._examples: dict[Split, tuple[Example, ...]] = {}

    @cached_property
    def sources(self) -> Mapping[Split, tuple[SplitSource, ...]]:
        """What each split is made of, as it was when first asked for."""
        return self.split_sources(self.config)

    @property
    def answers(self) -> Sequence[str]:
        """The answers that labels stand for; none for captions."""
        return next(part.shards for parts in self.sources.values() for part in parts).answers

    def examples(self, split: Split) -> Sequence[Example]:
        """All texts of a split, in the order of the shards."""
        if split not in self._examples:
            self._examples[split] = tuple(self._read(split))
        return self._examples[split]

    def texts(self, split: Split) -> Iterator[str]:
        """Go through the texts of a split; nothing is kept."""
        return (record.text for part in self.sources[split] for record in part.shards.records(part.selection))

    def sample(self, split: Split, at_most: int) -> Sequence[Example]:
        """The first ones of each part: shards have their images in random order."""
        each = -(-at_most // len(self.sources[split]))
        return tuple(
            self.example(record, split, source.name)
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

    def example(self, record: Record, split: Split, name: str = "", part: str = "") -> Example:
        """Make an example of a record.

        Args:
            record: as the shards have it.
            split: what people answered is wanted where answers are judged alone.
            name: of the folder, where there are several.
            part: of the folder; ids are unique in it.

        """
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
        )

    def _read(self, split: Split) -> Iterator[Example]:
        for source in self.sources[split]:
            part = parse_selection(source.selection).part
            for record in source.shards.records(source.selection):
                yield self.example(record, split, source.name, part)


@register_dataset("shards")
class OwnShards(ShardedDataset):
    """Your own data as shards, of whatever kind: `mtlab data convert jsonl` makes them of JSON lines and images.

    Questions, sentences and pictures, pairs of pictures, or captions; the tasks that can be trained on them follow.
    """

    converter = "jsonl"

    @dataclass(frozen=True, kw_only=True)
    class Config(ShardOptions):
        """Options in the YAML."""

        train: str = option("", "selection: PART, PART/SUBSET or PART[FIRST:LAST]; empty: train, what can be answered")
        val: str = option("val", "selection for validation")
        test: str = option("test", "selection for the verdict")

    @classmethod
    def selections(cls, config: Any, opened: Mapping[str, ShardFolder]) -> Mapping[Split, Sequence[tuple[str, str]]]:
        """Take what the options say."""
        part = opened[""].index.parts.get("train")
        learnable = "train/answerable" if part is not None and "answerable" in part.subsets else "train"
        return {"train": [("", config.train or learnable)], "val": [("", config.val)], "test": [("", config.test)]}

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:
        """Tell what cannot be scored here, and splits that have images in common."""
        told = list(super().remarks(config))
        if cls.locations(config):
            for (one, (first,)), (other, (second,)) in combinations(cls.split_sources(config).items(), 2):
                if count := shared_images(
                    first.shards.index, parse_selection(first.selection), parse_selection(second.selection)
                ):
                    told.append(
                        f"{one} ({first.selection}) and {other} ({second.selection}) have {count:,} images in common"
                    )
        return told


def absolute(location: str) -> str:
    """Write a folder so that it is found from anywhere; other locations stay as they are."""
    if not location or "://" in location or location.startswith("pipe:"):
        return location
    return str(Path(location).expanduser().absolute())


def _stamp(location: str) -> tuple[int, int] | None:
    """Tell whether a folder is still the one that was read; None where it lies elsewhere."""
    try:
        status = (Path(location) / INDEX).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _commands_may_run(locations: Mapping[str, str]) -> bool:
    """Tell whether the user lets commands run that files name: a recipe or a run of others must not run any by itself.

    Raises:
        UserError: there are such commands, and the user does not.

    """
    commands = [location for location in locations.values() if location.startswith("pipe:")]
    if commands and os.environ.get(ALLOW_PIPE) != "1":
        raise UserError(
            f"{commands[0]!r} runs a command that a file names: set {ALLOW_PIPE}=1 in the environment if you trust it",
            key="allow_pipe",
        )
    return bool(commands)


@lru_cache(maxsize=16)
def _opened(location: str, allow_pipe: bool, _stamp: tuple[int, int] | None) -> ShardFolder:
    return ShardFolder(location, allow_pipe=allow_pipe)


def _size(part: SplitSource) -> int:
    """Count texts; of a cut all lines are read, once."""
    if "[" not in part.selection:
        return part.shards.size(part.selection)
    from mtlab.towers.loading.disk_cache import cached  # asked for where plans are made, which have imported torch

    key = [part.shards.digest, part.selection]
    return int(cached("shards-texts", key, lambda: part.shards.size(part.selection)))


def _untold(part: SplitSource) -> bool:
    record = next(part.shards.records(part.selection), None)
    if record is None or part.shards.kind == "captions":
        return False
    return "labels" not in record.row if part.shards.kind == "questions" else record.label is None
