"""The index of a folder of shards: counts, checksums and provenance, in one JSON file that is read before any shard.

The file holds neither times nor absolute paths. The same raw files give the same bytes, and its hash identifies the
whole data set in the id of a run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

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
_FILE = re.compile(r"[A-Za-z0-9_-]+-\d{6}\.tar")


@dataclass(frozen=True)
class Shard:
    """One tar file, and beside it a JSONL file with the same samples without images."""

    file: str  #: PART-NUMBER.tar
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
    parts: Mapping[str, Part] = field(default_factory=dict)


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
    """Serialise an index as JSON, one line per shard."""
    head = {
        "format": FORMAT,
        "name": index.name,
        "kind": index.kind,
        "converter": {"version": index.version, "options": dict(index.options), "samples": index.samples},
        "answers": index.answers,
        "answers_sha256": index.answers_sha256,
        "sources": index.sources,
        "parts": {
            name: {
                "images": part.images,
                "texts": part.texts(),
                "subsets": {subset: part.texts(subset) for subset in part.subsets},
                "bad": part.bad,
                "missing": part.missing,
                "shards": f"@{name}@",
            }
            for name, part in index.parts.items()
        },
    }
    text = json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False)
    for name, part in index.parts.items():
        lines = ",\n".join(f"        {json.dumps(asdict(shard))}" for shard in part.shards)
        text = text.replace(f'"@{name}@"', f"[\n{lines}\n      ]")
    return text + "\n"


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
        known = data["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError("is no index of shards: `mtlab data convert` writes one", file=file) from None
    if known != FORMAT:
        raise UserError(f"has format {known!r}, this version of mtlab reads {FORMAT}: convert anew", file=file)
    try:
        parts = {str(name): _part(name, part) for name, part in data["parts"].items()}
        if data["kind"] not in KINDS or not parts:
            raise ValueError(data["kind"])
        converter = data["converter"]
        return ShardIndex(
            str(data["name"]),
            data["kind"],
            int(converter["version"]),
            dict(converter["options"]),
            int(converter["samples"]),
            None if data["answers"] is None else int(data["answers"]),
            data["answers_sha256"],
            dict(data["sources"]),
            parts,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"is damaged or was changed by hand ({error!r}): convert anew", file=file) from None


def _part(name: str, data: Mapping[str, Any]) -> Part:
    shards = tuple(
        Shard(
            file=_file_name(shard["file"], name),
            bytes=int(shard["bytes"]),
            sha256=str(shard["sha256"]),
            rows_sha256=str(shard["rows_sha256"]),
            samples=int(shard["samples"]),
            per_text={str(subset): tuple(map(int, counts)) for subset, counts in shard["per_text"].items()},
        )
        for shard in data["shards"]
    )
    return Part(shards, int(data["bad"]), int(data["missing"]))


def _file_name(name: str, part: str) -> str:
    """Check that a file is inside the folder."""
    if not _FILE.fullmatch(name) or not name.startswith(f"{part}-"):
        raise ValueError(name)
    return name
