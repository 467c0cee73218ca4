"""Units of numbers: SI prefixes, durations, and which metrics are told in points."""

from __future__ import annotations

from collections.abc import Collection

#: metrics between 0 and 1, told in points
_SHARES = ("accuracy", "exact", "recall", "primary", "score", "IR@", "TR@", "precision", "f1", "auc")
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


def format_span(counts: Collection[int], word: str = "") -> str:
    """Format whole numbers as their range, with a word in the singular or plural.

    >>> format_span([3, 1, 2]), format_span([2]), format_span([1], "seed"), format_span([0, 1, 5], "seed")
    ('1 to 3', '2', '1 seed', '0 to 5 seeds')
    """
    low, high = min(counts), max(counts)
    numbers = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{numbers} {word}{'' if low == high == 1 else 's'}" if word else numbers


def in_points(metric: str) -> bool:
    """Return whether a metric is a share of examples, to be told × 100.

    >>> in_points("test/accuracy"), in_points("val/accuracy/counting"), in_points("test/loss")
    (True, True, False)
    """
    name = metric.split("/")[1] if "/" in metric else metric
    return any(word.startswith(_SHARES) for word in name.split("_"))


def format_metric(value: float, metric: str) -> str:
    """Format the value of a metric while runs train: shares of examples in points, as reports do.

    >>> format_metric(0.7234, "val/accuracy"), format_metric(0.51234, "val/loss")
    ('72.3', '0.5123')
    """
    return f"{100 * value:.1f}" if in_points(metric) else f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Format a duration.

    >>> format_duration(4.21), format_duration(41.2), format_duration(200), format_duration(9000)
    ('4.2 s', '41 s', '3.3 min', '2.5 h')
    >>> format_duration(4e5)
    '4.6 days'
    """
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 5970:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"
