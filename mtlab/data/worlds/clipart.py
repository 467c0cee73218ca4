"""`clipart`: pictograms and clip art with their names, from PyPI and from Debian's packages, for retrieval."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mtlab.config.hashing import digest
from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset
from mtlab.data.file_digests import content_digest
from mtlab.data.worlds import svg
from mtlab.data.worlds.clips.clip import NamedClip
from mtlab.data.worlds.clips.openclipart import list_openclipart
from mtlab.data.worlds.clips.openmoji import list_openmoji
from mtlab.data.worlds.clips.tuxpaint import list_tuxpaint
from mtlab.data.worlds.pictogram_names import split_concept
from mtlab.data.worlds.scenes.world import check_choices
from mtlab.errors import UserError

VERSION = 3  #: raise it when the same files give other examples
LISTS = {"openmoji": list_openmoji, "tuxpaint": list_tuxpaint, "openclipart": list_openclipart}
DRAWN = 384  #: side of a drawing before its empty border is cut off, in pixels


@register_dataset("clipart", version=VERSION)
class ClipArt(Dataset):
    """Pictograms and clip art with their names, not made for this: retrieval, captioning. Needs the extra `offline`.

    By default OpenMoji's pictograms; with `sources: [openmoji, tuxpaint, openclipart]` also Tux Paint's stamps and Open
    Clip Art from Debian's packages, read where they are installed. Names of clip art are titles or captions, and once
    more with keywords. No two pictures share a name. All that shows one concept, by the head of its name, is in one
    split, and what looks alike (flags, signs, people, clocks) in training alone.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        sources: tuple[Literal["openmoji", "tuxpaint", "openclipart"], ...] = option(
            ("openmoji",),
            "openmoji (from PyPI), tuxpaint, openclipart (Debian: tuxpaint-stamps-default, openclipart-svg)",
        )
        image_size: int = option(128, "side of a picture, in pixels", minimum=32, maximum=384)

        def __post_init__(self) -> None:
            check_choices(self.sources, "sources")

    config: Config
    provides = frozenset({"captions"})

    @classmethod
    def sizes(cls, config: Config) -> Mapping[Split, int]:
        """Number of names of each split."""
        found = list_clips(frozenset(config.sources))
        return {
            split: sum(len(it.names) for it in found if split_concept(it.concept, "clipart/") == split)
            for split in SPLITS
        }

    @classmethod
    def digest(cls, config: Config) -> str:
        """Hash pictures, names and splits, and the renderer's version."""
        return _digest(frozenset(config.sources))

    @property
    def answers(self) -> Sequence[str]:
        """None: names answer nothing."""
        return ()

    def examples(self, split: Split) -> Sequence[Example]:
        """All names of a split, source by source, in the order of files; the family is the source."""
        return tuple(
            Example(f"{it.key}/{number}", name, it.key, -1, it.key.partition("/")[0])
            for it in list_clips(frozenset(self.config.sources))
            if split_concept(it.concept, "clipart/") == split
            for number, name in enumerate(it.names)
        )

    def image(self, key: str) -> NDArray[np.uint8]:
        """Return a picture on white, [S, S, 3] RGB.

        Raises:
            KeyError: no such picture.

        """
        return svg.png_to_array(self._drawn[key])

    @cached_property
    def _drawn(self) -> Mapping[str, bytes]:
        """All pictures as PNGs: from an archive of each source in the cache folder, drawn when first asked for."""
        drawn: dict[str, bytes] = {}
        size = self.config.image_size
        for source in sorted(self.config.sources):
            paths = {it.key: it.file for it in _listed(source)}
            name = f"clipart/{source}-{_pictures_digest(source)}-{size}"
            drawn |= svg.draw_once(name, paths, DRAWN, finish=lambda png: _fit(png, size))
        return drawn


@lru_cache(maxsize=4)
def list_clips(sources: frozenset[str]) -> tuple[NamedClip, ...]:
    """List the clip art of some sources; of a name that several have, the first keeps it.

    Raises:
        UserError: a source is not installed; the message says what to install.

    """
    taken: set[str] = set()
    found = []
    for source in (source for source in LISTS if source in sources):
        for it in _listed(source):
            names = tuple(name for name in it.names if name not in taken)
            taken.update(names)
            if names:
                found.append(replace(it, names=names))
    return tuple(found)


def _listed(source: str) -> Sequence[NamedClip]:
    found = LISTS[source]()
    if not found:
        raise UserError(f"{source}: there are no pictures where it is installed: install it again", key="sources")
    return found


@lru_cache(maxsize=4)
def _digest(sources: frozenset[str]) -> str:
    named = [[it.key, split_concept(it.concept, "clipart/"), *it.names] for it in list_clips(sources)]
    return digest({"pictures": [_pictures_digest(source) for source in sorted(sources)], "names": named}, 32)


def _pictures_digest(source: str) -> str:
    """Hash the files of a source, and what draws them."""
    listed = _listed(source)
    content = content_digest(listed[0].folder, [it.path for it in listed])
    return digest({"files": content, "renderer": svg.version(), "version": VERSION, "size": DRAWN}, 32)


def _fit(png: bytes, size: int) -> bytes:
    """Cut the empty border off a picture, and fit it into a white square."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGBA")
    picture = ImageOps.contain(picture.crop(picture.getbbox()), (size, size), Image.Resampling.BICUBIC)
    square = Image.new("RGBA", (size, size), "white")
    square.alpha_composite(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    drawn = io.BytesIO()
    square.convert("RGB").save(drawn, "PNG")
    return drawn.getvalue()
