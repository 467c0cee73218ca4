"""Which text is shown with a picture that is not its own: half of them, each with that of another text.

Rows are shuffled by raw random bits alone, which NumPy keeps from version to version.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtlab.data.masking import uniform


def draw_mismatches(images: Sequence[str], seed: int) -> list[int | None]:
    """Choose for the larger half of the rows another row, whose picture is shown instead of their own; else None.

    A row keeps its own picture, too, where all rows have the same.

    Args:
        images: the key of each row's picture.
        seed: of the choice.

    """
    rows = len(images)
    draws = uniform(seed, 2 * rows)
    keeps = set(np.argsort(draws[:rows], kind="stable")[: rows // 2].tolist())
    several = len(set(images)) > 1
    return [_other(images, row, draws[rows + row]) if several and row not in keeps else None for row in range(rows)]


def _other(images: Sequence[str], row: int, draw: float) -> int:
    """Go on from a random row to the next with another picture."""
    rows = len(images)
    other = (row + 1 + int(draw * (rows - 1))) % rows
    while images[other] == images[row]:
        other = (other + 1) % rows
    return other
