"""Equivalence: is a difference smaller than a margin? No test of a difference can tell, however large its p-value."""

from __future__ import annotations

from mtlab.statistics.paired import Difference


def equivalence_p(found: Difference, margin: float) -> float | None:
    """Return the p-value of "the true difference is not within ± margin", by two one-sided tests (Schuirmann 1987).

    Where all seeds gave the same difference, and nothing is known of single examples, there is no t test: n equal signs
    of its distance from the margin have the p-value 1 / 2ⁿ.

    Args:
        found: by a t test.
        margin: in the unit of the difference, above 0.

    Returns:
        The larger p-value of the two; None where a single seed, or a test that is no t test, has none.

    """
    inside = abs(found.difference) < margin
    if found.n > 1 and not found.error and found.parts is None:
        return 2.0**-found.n if inside else 1.0
    nearer = margin if found.difference >= 0 else -margin
    both_sides = found.p_against(nearer)
    if both_sides is None:
        return None
    return both_sides / 2 if inside else 1 - both_sides / 2
