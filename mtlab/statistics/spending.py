"""How a test that looks several times spends its alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from mtlab.statistics.numbers import Floats

Spending = Literal["obrien_fleming", "pocock"]
Alpha = TypeVar("Alpha", float, "Floats")


def spent_alpha(alpha: Alpha, share: float, spending: Spending, *, sides: Literal[1, 2]) -> Alpha:
    """Return how much of alpha is spent when this share of the most seeds is used (Lan and DeMets 1983).

    A two-sided test spends half of it on each side.

    Args:
        alpha: of the whole test.
        share: seeds so far ÷ most seeds.
        spending: `obrien_fleming` spends little at first, `pocock` nearly evenly.
        sides: of the test.

    """
    import numpy as np
    from scipy import special

    found: Alpha
    if spending == "pocock":
        found = alpha * np.log1p((np.e - 1) * share)
    else:
        found = 2 * sides * special.ndtr(special.ndtri(alpha / sides / 2) / share**0.5)
    return found
