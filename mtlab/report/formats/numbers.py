"""Numbers as people read them: points, ±, thousands, durations, p-values."""

from __future__ import annotations

import math

from mtlab.statistics import MeanInterval

NONE = "—"
MARKS = {"better": "†", "worse": "‡"}  #: of what was shown, beside a mean
#: metrics between 0 and 1, shown in points
_SHARES = ("accuracy", "recall", "primary", "score", "IR@", "TR@", "precision", "f1", "auc")


def in_points(metric: str) -> bool:
    """Tell whether a metric is a share of examples, to be shown × 100."""
    name = metric.split("/")[1] if "/" in metric else metric
    return any(word.startswith(_SHARES) for word in name.split("_"))


def format_score(value: float | None, metric: str, *, sign: bool = False) -> str:
    """Write a result, or a difference of results with its sign: in points with one decimal where that fits.

    >>> score(0.7234, "test/accuracy"), score(-0.004, "test/accuracy", sign=True), score(0.51234, "test/loss")
    ('72.3', '−0.4', '0.512')
    """
    if value is None:
        return NONE
    if metric.startswith("cost/"):
        return format_cost(value, metric)
    digits = f"{100 * value:+.1f}" if in_points(metric) else f"{value:+.3g}"
    digits = digits.replace("-0.0", "+0.0") if float(digits) == 0 else digits
    return (digits if sign else digits.removeprefix("+")).replace("-", "−")


def format_detectable(value: float | None, metric: str) -> str:
    """Write the smallest difference that would be found; shares differ by no more than 100 points.

    >>> detectable(5.68, "test/accuracy")
    '> 100'
    """
    return "> 100" if value is not None and in_points(metric) and value > 1 else format_score(value, metric)


def format_interval(
    value: float | None, interval: tuple[float, float] | None, metric: str, *, sign: bool = False
) -> str:
    """Write a result with half the width of its interval.

    >>> plus_minus(0.723, (0.692, 0.754), "test/accuracy"), plus_minus(0.3, (0.2804, 0.3196), "test/loss")
    ('72.3 ± 3.1', '0.300 ± 0.020')
    """
    if value is None or interval is None:
        return format_score(value, metric, sign=sign)
    half = (interval[1] - interval[0]) / 2
    if in_points(metric) or not half > 0:
        return f"{format_score(value, metric, sign=sign)} ± {format_score(half, metric)}"
    # Two digits of the interval, and the result to the same place.
    places = max(0, 1 - math.floor(math.log10(half)))
    shown = f"{value:+.{places}f}" if sign else f"{value:.{places}f}"
    return f"{shown} ± {half:.{places}f}".replace("-", "−")


def format_mean(found: MeanInterval | None, metric: str) -> str:
    """Write a mean over seeds with its interval."""
    return NONE if found is None else format_interval(found.mean, found.interval, metric)


def add_mark(text: str, outcome: str) -> str:
    """Add the mark of a difference that was shown.

    >>> marked("72.3 ± 3.1", "better"), marked("72.3 ± 3.1", "undecided")
    ('72.3 ± 3.1 †', '72.3 ± 3.1')
    """
    return f"{text} {MARKS[outcome]}" if outcome in MARKS else text


def format_published(value: float, metric: str) -> str:
    """Write a result as papers print it: 74.5 and 0.745 are the same accuracy, as what exceeds 1 can only be points.

    >>> published(74.5, "test/accuracy"), published(0.745, "test/accuracy"), published(79.15, "test-std")
    ('74.5', '74.5', '79.15')
    """
    return f"{value:g}" if abs(value) > 1 or not in_points(metric) else format_score(value, metric)


def format_cost(value: float, metric: str) -> str:
    """Write a cost in its own unit."""
    if metric == "cost/seconds":
        return format_duration(value)
    return f"{value:.0f} MiB" if metric == "cost/memory" else format_count(value)


def format_count(value: float | None) -> str:
    """Write a large number in three digits.

    >>> number(404_300), number(14.0e6), number(1.24e9), number(950)
    ('404 k', '14.0 M', '1.24 G', '950')
    """
    if value is None:
        return NONE
    units = ["", " k", " M", " G", " T", " P"]
    while abs(value) >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    places = 0 if units[0] == "" or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{places}f}{units[0]}"


def format_duration(seconds: float | None) -> str:
    """Write a time.

    >>> duration(4.21), duration(41.2), duration(200), duration(9000)
    ('4.2 s', '41 s', '3.3 min', '2.5 h')
    """
    if seconds is None:
        return NONE
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def format_p_value(p: float) -> str:
    """Write a p-value.

    >>> p_value(0.0031), p_value(0.2), p_value(1e-9), p_value(0.0498)
    ('p = 0.003', 'p = 0.20', 'p < 0.001', 'p = 0.0498')
    """
    if p < 0.001:
        return "p < 0.001"
    if 0.045 <= p < 0.055:  # never round across the usual threshold
        return f"p = {p:.4f}"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def format_level(alpha: float) -> str:
    """Write the level of an interval.

    >>> level(0.05), level(0.005)
    ('95%', '99.5%')
    """
    return f"{100 * (1 - alpha):.4g}%"
