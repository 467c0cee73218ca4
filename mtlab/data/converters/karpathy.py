"""Captions in the form of Karpathy's splits: what COCO and Flickr30K share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from mtlab.data.converters.annotation_files import head, items, listed, text
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.errors import UserError


class KarpathyConverter(Converter):
    """One JSON file with all pictures, the split of each, and its captions."""

    kind = "captions"
    dataset: ClassVar[str]  #: what the file calls itself

    @property
    def file(self) -> str:
        """Name of the file, below the root."""
        return f"karpathy/dataset_{self.dataset}.json"

    @abstractmethod
    def folder(self, name: str) -> str:
        """Tell the folder of an image by its file name, or raise `BadRowError`."""

    def sources(self) -> Sequence[str]:
        """Name the file."""
        return [self.file]

    def prepare(self, scratch: ScratchDatabase) -> None:  # noqa: ARG002 - nothing is to be joined
        """Look whether it is the right file."""
        named = head(self.require(self.file), "dataset")
        if named not in (None, self.dataset):
            raise UserError(f"is of data set {named!r}, not {self.dataset!r}", file=self.root / self.file)

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:  # noqa: ARG002 - nothing is to be joined
        """Read the pictures one by one."""
        for place, row in items(self.root / self.file, "images"):
            part = self.parts[0]
            try:
                named = text(row, "split")
                if named not in self.all_parts:
                    raise BadRowError(f"split: {named!r} is none of {', '.join(self.all_parts)}")
                if named not in self.parts:
                    continue
                part, name = named, text(row, "filename")
                captions = tuple({"text": text(sentence, "raw")} for sentence in listed(row, "sentences"))
                image = f"{self.folder(name)}/{name}"
                yield Annotation(part, PurePosixPath(name).stem, (image,), captions, place)
            except BadRowError as error:
                yield RejectedRow(part, place, str(error))
