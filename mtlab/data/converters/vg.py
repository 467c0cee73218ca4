"""Visual Genome: phrases that describe regions of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtlab.data.converters.annotation_files import list_field, number_field, stream_list, text_field
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase

FILE = "annotations/region_descriptions.json"
FOLDERS = ("images/VG_100K", "images/VG_100K_2")


@register_converter("vg")
class VisualGenomeConverter(Converter):
    """Visual Genome's region descriptions. Part train. Each phrase keeps its box, as x, y, width, height in pixels."""

    kind = "captions"
    all_parts = ("train",)
    layout = f"{FILE}, images/VG_100K/, images/VG_100K_2/"

    def sources(self) -> Sequence[str]:
        """Return the file."""
        return [FILE]

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:  # noqa: ARG002 - no join is needed
        """Read the images one by one, and of each the phrases."""
        for place, row in stream_list(self.root / FILE):
            try:
                regions = list_field(row, "regions")
                if not regions:
                    raise BadRowError("regions: there are none")
                image = number_field(row, "id") if "id" in row else number_field(regions[0], "image_id")
            except BadRowError as error:
                yield RejectedRow("train", place, str(error))
                continue
            texts = []
            for at, region in enumerate(regions):
                try:
                    texts.append(_phrase(image, region))
                except BadRowError as error:
                    yield RejectedRow("train", f"{place}.regions[{at}]", str(error))
            if texts:
                yield Annotation("train", str(image), (self._file(image),), tuple(texts), place)

    def _file(self, image: int) -> str:
        names = [f"{folder}/{image}.jpg" for folder in FOLDERS]
        return next((name for name in names if (self.root / name).is_file()), names[0])


def _phrase(image: int, region: Any) -> Mapping[str, Any]:
    if number_field(region, "image_id") != image:
        raise BadRowError(f"image_id: {region['image_id']} among the regions of {image}")
    return {
        "text": text_field(region, "phrase"),
        "box": [number_field(region, key) for key in ("x", "y", "width", "height")],
    }
