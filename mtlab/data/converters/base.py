"""The interface of a converter: it reads annotation files piece by piece, and says what belongs to which image."""

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
    """Some texts that go with an image, or with a pair. The same key may come again with more texts."""

    part: str
    key: str  #: of the sample: letters, digits, _ and -
    images: tuple[str, ...]  #: files, relative to the root
    texts: tuple[Mapping[str, Any], ...]  #: docs/data.md says what each kind has; without `id` they are numbered
    place: str  #: where the annotation stands, for the list of what was left out
    names: tuple[str, ...] = ()  #: what the source calls the images, if not by their files' names


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row of an annotation file that cannot be used."""

    part: str
    place: str
    reason: str
    missing: bool = False  #: its image is not there, and in this source that is to be expected
    texts: int = 1


class BadRowError(Exception):
    """A row lacks something or has it wrong; whoever reads rows makes a `RejectedRow` of it."""


class Converter:
    """A converter. A subclass registers a name and says what it reads and what it makes of it.

    Args:
        root: the folder of the raw files.
        config: the checked options.
        parts: those that are wanted; none: all.

    """

    Config: ClassVar[type[Any]] = NoOptions
    kind: ClassVar[Kind]
    all_parts: ClassVar[tuple[str, ...]]  #: the source's own splits, in its own words
    layout: ClassVar[str]  #: the files below the root, for `--help` and errors
    disjoint: ClassVar[bool] = True  #: an image in two parts means that files were mixed up
    losses_expected: ClassVar[bool] = (
        False  #: images are behind links, of which some are dead: missing ones are no fault
    )

    def __init__(self, root: Path, config: Any, parts: Sequence[str] = ()) -> None:
        self.root = root
        self.config = config
        self.parts = tuple(part for part in self.all_parts if part in parts) if parts else self.all_parts

    def kind_of(self) -> Kind:
        """Tell the kind of samples; an option may choose it."""
        return self.kind

    def sources(self) -> Sequence[str]:
        """Name the annotation files, relative to the root: all must be there, and are hashed."""
        raise NotImplementedError

    def prepare(self, scratch: ScratchDatabase) -> None:
        """Read what must be known before the first row, such as a vocabulary."""

    def answers(self) -> Sequence[str] | None:
        """Return the answers that labels stand for, once prepared; None: the kind says it, or there are none."""
        return None

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:
        """Read the annotation files from start to end, in constant memory.

        Raises:
            UserError: a file is not what it should be.

        """
        raise NotImplementedError

    def require(self, name: str) -> Path:
        """Return the path of a file below the root.

        Raises:
            UserError: it is not there; the error names the layout.

        """
        path = self.root / name
        if not path.is_file():
            raise UserError(f"no such file; below --root there should be {self.layout}", file=path)
        return path


CONVERTERS: Registry[Converter] = Registry("converter", ("mtlab.data.converters",), "mtlab.converters", Converter)
register_converter = CONVERTERS.register
