"""Conceptual Captions (CC3M): images downloaded from links, some of them dead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from mtlab.data.converters.annotation_files import stream_text_lines, text_field
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase

CAPTIONS = {"train": "utils/Train_GCC-training.tsv", "val": "utils/Validation_GCC-1.1.0-Validation.tsv"}


@register_converter("cc3m")
class Cc3mConverter(Converter):
    """Conceptual Captions. Parts train, val. Rows whose image was not downloaded count as missing, not as bad.

    An image is named by the row of its caption, from 0: train_image/17.jpg.
    """

    kind = "captions"
    all_parts = ("train", "val")
    layout = (
        "utils/Train_GCC-training.tsv, utils/Validation_GCC-1.1.0-Validation.tsv, {train,val}_image_exist.txt, "
        "{train,val}_image/"
    )
    losses_expected = True

    def sources(self) -> Sequence[str]:
        """Return captions and lists of images."""
        return [name for part in self.parts for name in (CAPTIONS[part], _images(part))]

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:
        """Match captions and images by the number of the row."""
        for part in self.parts:
            captions = ((number - 1, line) for number, line in stream_text_lines(self.root / CAPTIONS[part]))
            images = _images_by_row(self.root / _images(part))
            for row, line, image in scratch.match(captions, images):
                yield _annotation(part, row, line, image)


def _annotation(part: str, row: int | str, line: str | None, image: str | None) -> Annotation | RejectedRow:
    place = f"{Path(CAPTIONS[part]).name}: row {row}"
    try:
        if line is None:
            raise BadRowError(f"{image}: this row has no caption, or another image")
        caption, tab, link = line.partition("\t")
        if not tab or "://" not in link:
            raise BadRowError("is not CAPTION, tab, LINK")
        if image is None:
            return RejectedRow(part, place, "no image was downloaded", missing=True)
        return Annotation(
            part,
            f"{part}_{row}",
            (f"{part}_image/{image}",),
            ({"text": text_field({"caption": caption}, "caption")},),
            place,
            names=(f"{part}_image/{image}",),  # the name alone is in each part
        )
    except BadRowError as error:
        return RejectedRow(part, place, str(error))


def _images_by_row(path: Path) -> Iterator[tuple[int | str, str]]:
    """Yield the downloaded images by the row number in their names."""
    for _, line in stream_text_lines(path):
        name = PurePosixPath(line.strip()).name
        row = name.partition(".")[0]
        yield (int(row) if row.isascii() and row.isdecimal() else name), name


def _images(part: str) -> str:
    return f"{part}_image_exist.txt"
