"""Negatives of image-text matching: which texts are shown with the image of another text.

Rows are shuffled by raw random bits alone, which NumPy keeps from version to version.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtlab.data.masking import uniform


def draw_negatives(images: Sequence[str], seed: int) -> list[int | None]:
    """Draw another row with another image for the larger half of the rows; None for those that keep their own image.

    Every row keeps its own image if all rows have the same one.

    Args:
        images: the key of each row's image.
        seed: of the draw.

    """
    rows = len(images)
    draws = uniform(seed, 2 * rows)
    keeps = set(np.argsort(draws[:rows], kind="stable")[: rows // 2].tolist())
    several = len(set(images)) > 1
    return [_other(images, row, draws[rows + row]) if several and row not in keeps else None for row in range(rows)]


def _other(images: Sequence[str], row: int, draw: float) -> int:
    """Go on from a random row to the next one with another image."""
    rows = len(images)
    other = (row + 1 + int(draw * (rows - 1))) % rows
    while images[other] == images[row]:
        other = (other + 1) % rows
    return other
