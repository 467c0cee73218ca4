"""Tux Paint's stamps as Debian packs them (`tuxpaint-stamps-default`, GPL-2), read where they are installed.

Beside each picture stands a text file, whose first line is a caption in English. Letters, numbers, coins and the like
are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from mtlab.data.worlds.clips.clip import NamedClip, system_folder
from mtlab.data.worlds.clips.names import concept

FOLDER = Path("/usr/share/tuxpaint/stamps")
PACKAGE = "tuxpaint-stamps-default"
LEFT_OUT = ("symbols/", "naturalforces/lightningbolt")  # the bolt is white, as the paper is
FAMILIES = {
    "town/roadsigns/": "signs",
    "town/flags/": "flags",
    "people/cartoon/": "people",
    "space/solarsystem/": "signs",
}


def list_tuxpaint() -> Sequence[NamedClip]:
    """List the stamps that have a caption, in the order of paths; a drawing is preferred to its copy in pixels.

    Raises:
        UserError: the Debian package is not installed.

    """
    return _list(system_folder(FOLDER, PACKAGE))


@lru_cache(maxsize=1)
def _list(folder: Path) -> tuple[NamedClip, ...]:
    clips = []
    for text in sorted(folder.rglob("*.txt")):
        path = text.relative_to(folder).with_suffix("").as_posix()
        picture = next((file for end in (".svg", ".png") if (file := text.with_suffix(end)).is_file()), None)
        lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
        caption = " ".join(lines[0].split()).rstrip(".").lower() if lines else ""
        if picture is None or not caption or path.startswith(LEFT_OUT):
            continue
        sentence = re.split(r"[.!?] ", caption)[0].rstrip("!?")
        family = next((family for start, family in FAMILIES.items() if path.startswith(start)), None)
        clips.append(
            NamedClip(
                f"tuxpaint/{path}",
                folder,
                picture.relative_to(folder).as_posix(),
                (sentence,),
                family or concept(sentence),
            )
        )
    return tuple(clips)
