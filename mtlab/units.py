"""Numbers as people read them."""

from __future__ import annotations

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def si(value: float, unit: str = "") -> str:
    """Write a number to three digits with the prefix of its size.

    >>> si(770_012_345, "FLOP")
    '770 MFLOP'
    >>> si(0.39e6)
    '390 k'
    >>> si(12)
    '12'
    """
    size = 0
    while abs(value) >= 999.5 and size < len(_PREFIXES) - 1:
        value, size = value / 1000, size + 1
    return f"{value:.3g} {_PREFIXES[size]}{unit}".strip()
