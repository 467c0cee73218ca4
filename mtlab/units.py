"""Units of numbers: SI prefixes, and which metrics are told in points."""

from __future__ import annotations

#: metrics between 0 and 1, told in points
_SHARES = ("accuracy", "recall", "primary", "score", "IR@", "TR@", "precision", "f1", "auc")
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


def in_points(metric: str) -> bool:
    """Return whether a metric is a share of examples, to be told × 100.

    >>> in_points("test/accuracy"), in_points("val/accuracy/counting"), in_points("test/loss")
    (True, True, False)
    """
    name = metric.split("/")[1] if "/" in metric else metric
    return any(word.startswith(_SHARES) for word in name.split("_"))
