"""The layout of SNLI-VE: JSON lines of premise, hypothesis and label, and Flickr30K's folder of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mtlab.data.base import Dataset, Split
from mtlab.data.raw.numbered_images import (
    NumberedImage,
    Progress,
    numbered_images,
    with_progress,
    write_jpeg,
    write_lines,
)

NO_PREMISE = "A picture."  #: models do not see premises, but the layout asks for one
PARTS: Mapping[Split, str] = {"train": "train", "val": "dev", "test": "test"}


@runtime_checkable
class WithPremises(Protocol):
    """A data set that can say in words what an image shows."""

    def premise(self, key: str) -> str:
        """Describe an image."""


def write(data: Dataset, root: Path, progress: Progress) -> None:
    """Write hypotheses with their labels, the premises where the data set has some, and the images.

    Args:
        data: has the answers contradiction, neutral and entailment.
        root: folder to write to.
        progress: is told how far it is.

    """
    for split, part in PARTS.items():
        found = numbered_images(data, split)
        for picture in with_progress(found, f"{part} pictures", progress):
            write_jpeg(root / "flickr30k-images" / f"{picture.number}.jpg", data.image(*picture.keys))
        rows = (row for picture in found for row in _rows(data, picture))
        write_lines(root / "snli_ve" / f"snli_ve_{part}.jsonl", rows)


def _rows(data: Dataset, picture: NumberedImage) -> Iterator[dict[str, Any]]:
    premise = data.premise(*picture.keys) if isinstance(data, WithPremises) else NO_PREMISE
    for at, example in enumerate(picture.examples):
        label = data.answers[example.target].lower()
        yield {
            "Flickr30K_ID": str(picture.number),
            "captionID": f"{picture.number}.jpg#0",
            "pairID": f"{picture.number}.jpg#0r{at}",
            "sentence1": premise,
            "sentence2": example.text,
            "gold_label": label,
            "annotator_labels": [label],
        }
