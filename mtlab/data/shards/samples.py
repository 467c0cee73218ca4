"""The samples of a shard: which members they may have, their rows without images, and the records of their texts.

Members are read by a fixed list of types. Nothing is ever unpickled, and no member's name leads out of the shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mtlab.data.shards.index import KEY

IMAGE_TYPES = ("jpg", "png", "webp", "bmp", "gif", "tif")
MEMBER_TYPES = frozenset({"json", *IMAGE_TYPES, *(f"{number}.{each}" for number in range(2) for each in IMAGE_TYPES)})
BLOCK = 512  #: bytes, of a tar file
OTHER = "other"  #: the family of a text that names none

_MAGIC: Mapping[bytes, str] = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"BM": "bmp",
    b"GIF8": "gif",
    b"II*\x00": "tif",
    b"MM\x00*": "tif",
}


def image_type(data: bytes) -> str | None:
    """Return the type of an image by its first bytes, whatever its file is called; None: unknown."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for start, kind in _MAGIC.items() if data.startswith(start)), None)


def name_members(key: str, row: bytes, images: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Name the members of a sample, in order: KEY.json and KEY.jpg, or of two images KEY.0.jpg and KEY.1.jpg."""
    names = [f"{key}.json"]
    for number, data in enumerate(images):
        infix = f".{number}" if len(images) > 1 else ""
        names.append(f"{key}{infix}.{image_type(data)}")
    return list(zip(names, (row, *images), strict=True))


def member_problem(name: str) -> str | None:
    """Say why a member is not allowed in a shard; None: it is."""
    if name.startswith("/") or ".." in name.split("/") or "\\" in name:
        return "leads out of the shard"
    key, _, kind = name.partition(".")
    if not KEY.fullmatch(key):
        return "has a name that no sample has (letters, digits, _ and -, then a dot)"
    if kind not in MEMBER_TYPES:
        return f"is of type {kind!r}, which is not read (allowed: json, {', '.join(IMAGE_TYPES)})"
    return None


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample without its images: a line of the JSONL file beside a shard."""

    key: str
    offset: int  #: its first byte in the shard
    end: int  #: one past its last
    images: tuple[tuple[int, int], ...]  #: first byte and size of each image
    names: tuple[str, ...]  #: the images' names in the source
    texts: tuple[Mapping[str, Any], ...]


_ROWS = msgspec.json.Decoder(SampleRow)


def row_to_line(row: SampleRow) -> bytes:
    """Serialise a row as a JSON line."""
    return msgspec.json.encode(row) + b"\n"


def parse_rows(data: bytes) -> list[SampleRow]:
    """Parse the rows of a shard, whose checksum has been compared."""
    return _ROWS.decode_lines(data)


@dataclass(frozen=True, slots=True)
class TextRecord:
    """A text and the keys of its images, as training and evaluation read it."""

    id: str  #: unique in its part, as in the source: VQAv2's answer file needs it
    text: str
    images: tuple[str, ...]  #: keys, unique in the folder
    family: str
    label: int | None  #: of entailment and of pairs; None: not public
    scores: tuple[tuple[int, float], ...]  #: of questions: answers that score, with their scores
    row: Mapping[str, Any]  #: all fields of the text in the shard: `annotators`, `premise`, `box`, …


def image_keys(key: str, images: int) -> tuple[str, ...]:
    """Return the keys of a sample's images: the sample's own, numbered if there are several."""
    return (key,) if images == 1 else tuple(f"{key}.{at}" for at in range(images))


def in_subset(text: Mapping[str, Any], subset: str) -> bool:
    """Say whether a text belongs to a subset; "" has all texts."""
    return not subset or subset in text.get("sets", ())


def make_record(images: tuple[str, ...], text: Mapping[str, Any]) -> TextRecord:
    """Make the record of one text of a sample, with the keys of its images."""
    return TextRecord(
        id=text["id"],
        text=text["text"],
        images=images,
        family=text.get("family", OTHER),
        label=text.get("label"),
        scores=tuple(zip(text.get("labels", ()), text.get("scores", ()), strict=True)),
        row=text,
    )


def row_records(row: SampleRow, subset: str = "") -> Iterator[TextRecord]:
    """Yield the records of a sample's texts that are in a subset."""
    images = image_keys(row.key, len(row.images))
    return (make_record(images, text) for text in row.texts if in_subset(text, subset))
