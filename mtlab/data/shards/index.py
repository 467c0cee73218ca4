"""The index of a folder of shards: counts, checksums and provenance, in one JSON file that is read before any shard.

The file holds neither times nor absolute paths. The same raw files give the same bytes, and its hash identifies the
whole data set in the id of a run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec

from mtlab import files
from mtlab.errors import UserError

FORMAT = 1
INDEX, ANSWERS = "index.json", "answers.json"
BAD, CONVERSION = "bad.jsonl", "conversion.json"  #: rejected rows; date and source: no part of the data

Kind = Literal["questions", "entailment", "pairs", "captions"]
KINDS: tuple[Kind, ...] = get_args(Kind)
IMAGES_PER_SAMPLE: Mapping[Kind, int] = {
    "questions": 1,
    "entailment": 1,
    "pairs": 2,
    "captions": 1,
}  #: images of a sample
CLASSES: Mapping[Kind, tuple[str, ...]] = {  #: the labels of a kind, where the data do not name them
    "entailment": ("contradiction", "neutral", "entailment"),
    "pairs": ("False", "True"),
}

KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")  #: the key of a sample: no dot, as a member's type starts at the first one
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+-\d{6}\.tar$")]  #: of a shard: never outside the folder


@dataclass(frozen=True)
class Shard:
    """One tar file, and beside it a JSONL file with the same samples without images."""

    file: FileName  #: PART-NUMBER.tar
    bytes: int
    sha256: str
    rows_sha256: str  #: of the JSONL file
    samples: int
    #: subset ("" is the whole) → at place p the number of samples with more than p texts: the sum is the texts in all
    per_text: Mapping[str, tuple[int, ...]]

    @property
    def rows(self) -> str:
        """Name of the JSONL file."""
        return f"{self.file.removesuffix('.tar')}.jsonl"

    def texts(self, subset: str = "") -> int:
        """Count the texts of a subset."""
        return sum(self.per_text.get(subset, ()))


@dataclass(frozen=True)
class Part:
    """A split of the source, under the source's name for it."""

    shards: tuple[Shard, ...]
    bad: int = 0  #: texts rejected because a row or an image is damaged
    missing: int = 0  #: texts whose image is missing, in sources of which that is expected

    @property
    def images(self) -> int:
        """Number of samples."""
        return sum(shard.samples for shard in self.shards)

    def texts(self, subset: str = "") -> int:
        """Count the texts of a subset, or all."""
        return sum(shard.texts(subset) for shard in self.shards)

    @property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets."""
        return tuple(sorted({name for shard in self.shards for name in shard.per_text if name}))


@dataclass(frozen=True)
class ShardIndex:
    """The index of a folder."""

    name: str  #: of the converter
    kind: Kind
    version: int  #: of the converter
    options: Mapping[str, Any]  #: of the converter
    samples: int  #: in a shard, at most
    answers: int | None  #: number of answers; None: captions have none
    answers_sha256: str | None  #: of the file of answers; None: the kind has fixed labels
    sources: Mapping[str, Mapping[str, Any]]  #: annotation files below the root → bytes and sha256
    parts: Annotated[Mapping[str, Part], msgspec.Meta(min_length=1)]


def suspicious_sizes(index: ShardIndex) -> list[str]:
    """Describe sizes of parts that look as if files were swapped."""
    sizes = {name: part.texts() for name, part in index.parts.items()}
    if "train" not in sizes:
        return []
    return [
        f"{name} has more texts than train ({count:,}, {sizes['train']:,}): are their files swapped?"
        for name, count in sizes.items()
        if count > sizes["train"]
    ]


def index_to_text(index: ShardIndex) -> str:
    """Serialise an index as JSON."""
    return files.json_text({"format": FORMAT, **msgspec.to_builtins(index)})


def parse_index(text: str | bytes, file: str) -> ShardIndex:
    """Parse an index.

    Args:
        text: the file's content.
        file: its path, for errors.

    Raises:
        UserError: it is no index of shards, has another format, or is damaged.

    """
    try:
        data = json.loads(text)
        found = data["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError("is no index of shards: `mtlab data convert` writes one", file=file) from None
    if found != FORMAT:
        raise UserError(f"has format {found!r}, this version of mtlab reads {FORMAT}: convert anew", file=file)
    try:
        return msgspec.convert(data, ShardIndex)
    except msgspec.ValidationError as error:
        raise UserError(f"is damaged or was changed by hand ({error}): convert anew", file=file) from None
