"""Writing a registered data set in the public layout of its kind, so that converters have something to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, Dataset, Split
from mtlab.data.raw import flickr30k, nlvr2, snli_ve, vqav2
from mtlab.data.raw.numbered_images import Progress

Write = Callable[[Dataset, Path, Progress], None]
LAYOUTS: Mapping[str, Write] = {
    "vqav2": vqav2.write,
    "snli_ve": snli_ve.write,
    "nlvr2": nlvr2.write,
    "flickr30k": flickr30k.write,
}
ENTAILMENT = ("contradiction", "neutral", "entailment")


@dataclass(frozen=True)
class RawDataset:
    """A data set that was written."""

    layout: str  #: the public data set whose layout it has, and the converter that reads it
    sizes: Mapping[Split, int]  #: texts of each split


def layout_of(data: Dataset) -> str:
    """Name the public data set whose layout fits what a data set holds."""
    offers = data.offers(data.config)
    if "pairs of images" in offers:
        return "nlvr2"
    if "captions" in offers:
        return "flickr30k"
    return "snli_ve" if tuple(map(str.lower, data.answers)) == ENTAILMENT else "vqav2"


def make(name: str, options: Mapping[str, Any], out: Path, progress: Progress) -> RawDataset:
    """Write a data set to a new folder, atomically.

    Args:
        name: of the registered data set.
        options: of the data set, as in the YAML.
        out: the folder.
        progress: called now and then.

    Raises:
        UserError: unknown data set or options; the folder exists already or cannot be written; data cannot be had.

    """
    entry, config = lookup_options(DATASETS, {"name": name, **options}, "")
    data = entry.cls(config)
    layout = layout_of(data)
    sizes = entry.cls.sizes(config)
    with files.new_folder(out) as folder:
        LAYOUTS[layout](data, folder, progress)
    return RawDataset(layout, sizes)
