"""Codes of the data set `planted`, encoded in texts and images and decoded by the towers `planted`. No torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtlab.errors import UserError

PlantedCode = tuple[int, int]  #: code of the modality, and number of the example


def to_text(code: int, item: int) -> str:
    """Encode a code and the example's number as a text."""
    return f"code {code} of item {item}"


def from_text(text: str) -> PlantedCode:
    """Decode a text of `to_text`.

    Raises:
        UserError: another text.

    """
    words = text.split()
    if len(words) != 5 or words[0] != "code" or words[2:4] != ["of", "item"]:
        raise UserError(f"towers `planted` read the texts of data set `planted` alone, not {text!r}", key="data")
    return int(words[1]), int(words[4])


def to_image(code: int, item: int) -> NDArray[np.uint8]:
    """Encode a code and the example's number as two pixels, [1, 2, 3]: the code in one, the number in the other."""
    return np.array([[[code, 0, 0], [item >> 16 & 255, item >> 8 & 255, item & 255]]], np.uint8)


def from_image(image: NDArray[np.uint8]) -> PlantedCode:
    """Decode an image of `to_image`.

    Raises:
        UserError: another image.

    """
    if image.shape != (1, 2, 3):
        shape = "×".join(map(str, image.shape))
        raise UserError(f"towers `planted` read the images of data set `planted` alone, not one of {shape}", key="data")
    (code, *_), (high, middle, low) = image[0].tolist()
    return code, high << 16 | middle << 8 | low
