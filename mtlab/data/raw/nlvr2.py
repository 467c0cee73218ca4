"""The layout of NLVR²: JSON lines of sentences, and two PNGs for each pair of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab.data.base import Dataset, Split
from mtlab.data.raw.numbered_images import (
    NumberedImage,
    Progress,
    numbered_images,
    with_progress,
    write_lines,
    write_png,
)

PARTS: Mapping[Split, str] = {"train": "train", "val": "dev", "test": "test1"}
FOLDERS = 100  #: over which training images are spread


def write(data: Dataset, root: Path, progress: Progress) -> None:
    """Write sentences with their labels, and the images, without loss.

    Pairs of one group are a set in their identifiers. All pairs of dev and test1 count as balanced.

    Args:
        data: has pairs of images, and the answers false and true.
        root: folder to write to.
        progress: called now and then.

    """
    for split, part in PARTS.items():
        grouped = numbered_images(data, split)
        names = dict(zip(grouped, _names(part, grouped), strict=True))
        for pair in with_progress(grouped, f"{part} pictures", progress):
            folder = root / "images" / "train" / str(_directory(pair)) if split == "train" else root / part
            for side, key in enumerate(pair.keys):
                write_png(folder / f"{names[pair]}-img{side}.png", data.image(key))
        rows = [row for pair in grouped for row in _rows(data, part, pair, names[pair])]
        sentences = root / "nlvr2" / "data"
        write_lines(sentences / f"{part}.json", rows)
        if split != "train":
            write_lines(sentences / "balanced" / f"balanced_{part}.json", rows)


def _names(part: str, pairs: Sequence[NumberedImage]) -> Iterator[str]:
    """Name pairs as PART-SET-PAIR."""
    sets: dict[str, int] = {}
    pairs_of: Counter[str] = Counter()
    for pair in pairs:
        group = pair.examples[0].cluster
        yield f"{part}-{sets.setdefault(group, len(sets))}-{pairs_of[group]}"
        pairs_of[group] += 1


def _directory(pair: NumberedImage) -> int:
    return pair.number % FOLDERS


def _rows(data: Dataset, part: str, pair: NumberedImage, name: str) -> Iterator[dict[str, Any]]:
    for at, example in enumerate(pair.examples):
        yield {
            "identifier": f"{name}-{at}",
            "sentence": example.text,
            "label": data.answers[example.target].capitalize(),
            **({"directory": _directory(pair)} if part == "train" else {}),
        }
