"""Correction of p-values for the number of comparisons."""

from __future__ import annotations

from collections.abc import Sequence


def holm(pvalues: Sequence[float]) -> list[float]:
    """Correct p-values for having made all of these comparisons (Holm 1979), in the order given.

    Written out, since `statsmodels.stats.multitest` imports pandas and takes a second; scipy has no Holm.
    """
    order = sorted(range(len(pvalues)), key=lambda index: pvalues[index])
    corrected = [1.0] * len(pvalues)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        corrected[index] = highest
    return corrected
