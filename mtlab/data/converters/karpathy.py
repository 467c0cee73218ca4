"""Captions in the format of Karpathy's splits, of COCO and Flickr30K."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from mtlab.data.converters.annotation_files import list_field, read_top_value, stream_list, text_field
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.errors import UserError


class KarpathyConverter(Converter):
    """One JSON file with all images, their splits and captions."""

    kind = "captions"
    dataset: ClassVar[str]  #: the data set's name in the file

    @property
    def file(self) -> str:
        """Name of the file, below the root."""
        return f"karpathy/dataset_{self.dataset}.json"

    @abstractmethod
    def folder(self, name: str) -> str:
        """Return the folder of an image by its file name, or raise `BadRowError`."""

    def sources(self) -> Sequence[str]:
        """Return the file."""
        return [self.file]

    def prepare(self, scratch: ScratchDatabase) -> None:  # noqa: ARG002 - no join is needed
        """Check that it is the right file."""
        named = read_top_value(self.require(self.file), "dataset")
        if named not in (None, self.dataset):
            raise UserError(f"is of data set {named!r}, not {self.dataset!r}", file=self.root / self.file)

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:  # noqa: ARG002 - no join is needed
        """Read the images one by one."""
        for place, row in stream_list(self.root / self.file, "images"):
            part = self.parts[0]
            try:
                named = text_field(row, "split")
                if named not in self.all_parts:
                    raise BadRowError(f"split: {named!r} is none of {', '.join(self.all_parts)}")
                if named not in self.parts:
                    continue
                part, name = named, text_field(row, "filename")
                image, sentences = f"{self.folder(name)}/{name}", list_field(row, "sentences")
                if not sentences:
                    raise BadRowError("sentences: there are none")
            except BadRowError as error:
                yield RejectedRow(part, place, str(error))
                continue
            captions = []
            for at, sentence in enumerate(sentences):
                try:
                    captions.append({"text": text_field(sentence, "raw")})
                except BadRowError as error:
                    yield RejectedRow(part, f"{place}.sentences[{at}]", str(error))
            if captions:
                yield Annotation(part, PurePosixPath(name).stem, (image,), tuple(captions), place)


@register_converter("coco")
class CocoConverter(KarpathyConverter):
    """COCO captions, Karpathy's split. Parts train, restval, val, test; published models train on train + restval."""

    dataset = "coco"
    all_parts = ("train", "restval", "val", "test")
    layout = "karpathy/dataset_coco.json, train2014/, val2014/"

    def folder(self, name: str) -> str:
        """Return `train2014` or `val2014`."""
        match = re.fullmatch(r"COCO_((?:train|val)2014)_\d+\.jpg", name)
        if match is None:
            raise BadRowError(f"filename: {name!r} is not COCO_{{train,val}}2014_NUMBER.jpg")
        return match[1]


@register_converter("flickr30k")
class Flickr30KConverter(KarpathyConverter):
    """Flickr30K captions, Karpathy's split. Parts train, val, test.

    The published code trains on train + val and selects checkpoints on test; here the data set decides.
    """

    dataset = "flickr30k"
    all_parts = ("train", "val", "test")
    layout = "karpathy/dataset_flickr30k.json, flickr30k-images/"

    def folder(self, name: str) -> str:
        """Return the one folder of all images."""
        if not re.fullmatch(r"\d+\.jpg", name):
            raise BadRowError(f"filename: {name!r} is not NUMBER.jpg")
        return "flickr30k-images"
