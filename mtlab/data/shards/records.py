"""A text with its images, as training and evaluation take it from a shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.data.shards.samples import SampleRow

OTHER = "other"  #: the family of a text that names none


@dataclass(frozen=True, slots=True)
class Record:
    """A text and the keys of its images."""

    id: str  #: unique in its part, as in the source: VQAv2's answer file wants it back
    text: str
    images: tuple[str, ...]  #: keys, unique in the folder
    family: str
    label: int | None  #: of entailment and of pairs; None: not told
    scores: tuple[tuple[int, float], ...]  #: of questions: answers that score, with their scores
    row: Mapping[str, Any]  #: all that the shard says about the text: `annotators`, `premise`, `box`, …


def image_keys(key: str, images: int) -> tuple[str, ...]:
    """Name the images of a sample: by its key, and where it has several by their number."""
    return (key,) if images == 1 else tuple(f"{key}.{at}" for at in range(images))


def in_subset(text: Mapping[str, Any], subset: str) -> bool:
    """Tell whether a text belongs to a subset; all belong to the whole, which is called ""."""
    return not subset or subset in text.get("sets", ())


def record(images: tuple[str, ...], text: Mapping[str, Any]) -> Record:
    """Make the record of one text of a sample, with the keys of its images."""
    return Record(
        id=text["id"],
        text=text["text"],
        images=images,
        family=text.get("family", OTHER),
        label=text.get("label"),
        scores=tuple(zip(text.get("labels", ()), text.get("scores", ()), strict=True)),
        row=text,
    )


def records(row: SampleRow, subset: str = "") -> Iterator[Record]:
    """Give the texts of a sample that are in a subset."""
    images = image_keys(row.key, len(row.images))
    return (record(images, text) for text in row.texts if in_subset(text, subset))
