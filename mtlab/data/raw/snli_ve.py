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

NO_PREMISE = "A entry."  #: models do not see premises, but the layout asks for one
PARTS: Mapping[Split, str] = {"train": "train", "val": "dev", "test": "test"}


@runtime_checkable
class WithPremises(Protocol):
    """A data set that describes its images in words."""

    def premise(self, key: str) -> str:
        """Describe an image."""


def write(data: Dataset, root: Path, progress: Progress) -> None:
    """Write hypotheses with their labels, the premises where the data set has some, and the images.

    Args:
        data: has the answers contradiction, neutral and entailment.
        root: folder to write to.
        progress: called now and then.

    """
    for split, part in PARTS.items():
        grouped = numbered_images(data, split)
        for entry in with_progress(grouped, f"{part} pictures", progress):
            write_jpeg(root / "flickr30k-images" / f"{entry.number}.jpg", data.image(*entry.keys))
        rows = (row for entry in grouped for row in _rows(data, entry))
        write_lines(root / "snli_ve" / f"snli_ve_{part}.jsonl", rows)


def _rows(data: Dataset, entry: NumberedImage) -> Iterator[dict[str, Any]]:
    premise = data.premise(*entry.keys) if isinstance(data, WithPremises) else NO_PREMISE
    for at, example in enumerate(entry.examples):
        label = data.answers[example.target].lower()
        yield {
            "Flickr30K_ID": str(entry.number),
            "captionID": f"{entry.number}.jpg#0",
            "pairID": f"{entry.number}.jpg#0r{at}",
            "sentence1": premise,
            "sentence2": example.text,
            "gold_label": label,
            "annotator_labels": [label],
        }
