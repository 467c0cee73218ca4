"""Numbering images as public data sets do, and writing them as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtlab.data.base import SPLITS, Dataset, Example, Split

T = TypeVar("T")
Progress = Callable[[str, int, int | None], None]  #: activity, amount done, total
BLOCK = 10_000_000  #: numbers of one split


@dataclass(frozen=True)
class NumberedImage:
    """An image (of pairs: the first one) with all texts about it."""

    number: int  #: unique in the data set
    examples: tuple[Example, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of `Dataset.image`."""
        return self.examples[0].images


def numbered_images(data: Dataset, split: Split) -> list[NumberedImage]:
    """Group the examples of a split by image, in the order of the data set, and number the images."""
    by_image: dict[tuple[str, ...], list[Example]] = {}
    for example in data.examples(split):
        by_image.setdefault(example.images, []).append(example)
    start = BLOCK * (1 + SPLITS.index(split))
    return [NumberedImage(start + at, tuple(examples)) for at, examples in enumerate(by_image.values())]


def with_progress(items: Sequence[T], what: str, progress: Progress) -> Iterator[T]:
    """Yield items and report progress."""
    for done, item in enumerate(items):
        progress(what, done, len(items))
        yield item
    progress(what, len(items), len(items))


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image losslessly, making its folders."""
    _write(path, pixels, "PNG")


def write_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image as a JPEG of high quality, for layouts whose files must be JPEG; makes its folders."""
    _write(path, pixels, "JPEG", quality=95, subsampling=0)


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON lines file, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write(path: Path, pixels: NDArray[np.uint8], form: str, **options: Any) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, form, **options)
