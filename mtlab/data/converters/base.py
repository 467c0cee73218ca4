"""The interface of a converter, which streams annotation files and yields the texts of each image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mtlab.config.registry import NoOptions, Registry
from mtlab.data.shards.index import Kind
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.data.converters.scratch_database import ScratchDatabase


@dataclass(frozen=True, slots=True)
class Annotation:
    """Texts of an image or a pair of images. The same key may come again with more texts."""

    part: str
    key: str  #: of the sample: letters, digits, _ and -
    images: tuple[str, ...]  #: files, relative to the root
    texts: tuple[Mapping[str, Any], ...]  #: fields by kind: see docs/data.md; without `id` they are numbered
    place: str  #: file and line of the annotation, for the log of rejected rows
    names: tuple[str, ...] = ()  #: the images' names in the source, if not their files' names


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row of an annotation file that cannot be converted."""

    part: str
    place: str
    reason: str
    missing: bool = False  #: its image is missing, as some are expected to be in this source
    texts: int = 1


class BadRowError(Exception):
    """A field of a row is missing or wrong; the caller makes a `RejectedRow` of it."""


class Converter:
    """A converter. A subclass registers a name.

    Args:
        root: the folder of the raw files.
        config: the checked options.
        parts: to convert; none: all.

    """

    Config: ClassVar[type[Any]] = NoOptions
    kind: ClassVar[Kind]
    all_parts: ClassVar[tuple[str, ...]]  #: the source's splits, by their own names
    layout: ClassVar[str]  #: files below the root, for `--help` and errors
    no_row: ClassVar[str] = "the files have no row for it"  #: where a part is empty: why, and what helps
    disjoint: ClassVar[bool] = True  #: an image in two parts is an error: files were swapped
    location_options: ClassVar[frozenset[str]] = frozenset()  #: say where files lie: absolute, they identify no data
    losses_expected: ClassVar[bool] = (
        False  #: images were downloaded from links, some of them dead: missing ones are expected
    )

    def __init__(self, root: Path, config: Any, parts: Sequence[str] = ()) -> None:
        self.root = root
        self.config = config
        self.parts = tuple(part for part in self.all_parts if part in parts) if parts else self.all_parts

    def kind_of(self) -> Kind:
        """Return the kind of samples; an option may choose it."""
        return self.kind

    def sources(self) -> Sequence[str]:
        """Return the annotation files, relative to the root; all must exist, and are hashed."""
        raise NotImplementedError

    def prepare(self, scratch: ScratchDatabase) -> None:
        """Read what is needed before the first row, such as a vocabulary."""

    def answers(self) -> Sequence[str] | None:
        """Return the answers that labels index, once prepared; None: the kind has fixed labels or none."""
        return None

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:
        """Read the annotation files from start to end, in constant memory.

        Raises:
            UserError: a file is damaged or of another data set.

        """
        raise NotImplementedError

    def require(self, name: str) -> Path:
        """Return the path of a file below the root.

        Raises:
            UserError: it does not exist; the error names the layout.

        """
        path = self.root / name
        if not path.is_file():
            raise UserError(f"no such file; below --root there should be {self.layout}", file=path)
        return path


CONVERTERS: Registry[Converter] = Registry("converter", ("mtlab.data.converters",), "mtlab.converters", Converter)
register_converter = CONVERTERS.register
