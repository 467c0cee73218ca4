"""Numbers with SI prefixes."""

from __future__ import annotations

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def format_si(value: float, unit: str = "") -> str:
    """Format a number with three digits and an SI prefix.

    >>> format_si(770_012_345, "FLOP")
    '770 MFLOP'
    >>> format_si(0.39e6)
    '390 k'
    >>> format_si(14e6), format_si(12), format_si(0.5)
    ('14.0 M', '12', '0.5')
    """
    size = 0
    while abs(value) >= 999.5 and size < len(_PREFIXES) - 1:
        value, size = value / 1000, size + 1
    digits = f"{value:#.3g}".rstrip(".") if size else f"{value:.3g}"
    return f"{digits} {_PREFIXES[size]}{unit}".strip()
