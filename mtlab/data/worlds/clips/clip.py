"""A piece of clip art, and what the sources have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtlab.errors import UserError


@dataclass(frozen=True, slots=True)
class NamedClip:
    """A piece of clip art."""

    key: str  #: source/path below the source's folder, without its ending
    folder: Path  #: of the source
    path: str  #: of the file, below that folder
    names: tuple[str, ...]  #: none of another clip
    concept: str  #: what it shows; all that shows it is in one split

    @property
    def file(self) -> Path:
        """The file with the picture."""
        return self.folder / self.path


def system_folder(folder: Path, package: str) -> Path:
    """Return a folder of a Debian package.

    Raises:
        UserError: it is not there; the message names the package.

    """
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: apt-get install {package}, or leave this source out", key="sources")
    return folder
