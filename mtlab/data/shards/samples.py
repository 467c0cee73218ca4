"""One sample of a shard: which members it may have, and what kind of image some bytes are.

A shard is read by its own list of member types. Nothing in it is ever unpickled, and no name leads out of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtlab.data.shards.index import KEY

IMAGE_TYPES = ("jpg", "png", "webp", "bmp", "gif", "tif")
MEMBER_TYPES = frozenset({"json", *IMAGE_TYPES, *(f"{number}.{each}" for number in range(2) for each in IMAGE_TYPES)})
BLOCK = 512  #: of a tar file

_STARTS: Mapping[bytes, str] = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"BM": "bmp",
    b"GIF8": "gif",
    b"II*\x00": "tif",
    b"MM\x00*": "tif",
}


def image_type(data: bytes) -> str | None:
    """Tell the type of an image by its first bytes, whatever its file is called; None: of no known type."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)


def members(key: str, row: bytes, images: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Name the members of a sample, in their order: of one image KEY.jpg and KEY.json, of two KEY.0.jpg, KEY.1.jpg."""
    names = [f"{key}.json"]
    for number, data in enumerate(images):
        place = f".{number}" if len(images) > 1 else ""
        names.append(f"{key}{place}.{image_type(data)}")
    return list(zip(names, (row, *images), strict=True))


def member_problem(name: str) -> str | None:
    """Say why a member may not be in a shard; None: it may."""
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
    """A sample without its images: a line of the file beside a shard."""

    key: str
    offset: int  #: its first byte in the shard
    end: int  #: one past its last
    images: tuple[tuple[int, int], ...]  #: first byte and size of each image
    names: tuple[str, ...]  #: what the source calls the images
    texts: tuple[Mapping[str, Any], ...]


def to_line(row: SampleRow) -> bytes:
    """Write a row as a line."""
    data = {
        "key": row.key,
        "offset": row.offset,
        "end": row.end,
        "images": row.images,
        "names": row.names,
        "texts": row.texts,
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def from_lines(data: bytes) -> Iterator[SampleRow]:
    """Read the rows of a shard.

    Raises:
        ValueError: a line is no row.

    """
    for line in data.splitlines():
        try:
            found = json.loads(line)
            yield SampleRow(
                key=found["key"],
                offset=int(found["offset"]),
                end=int(found["end"]),
                images=tuple((int(at), int(size)) for at, size in found["images"]),
                names=tuple(found["names"]),
                texts=tuple(found["texts"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(repr(error)) from None
