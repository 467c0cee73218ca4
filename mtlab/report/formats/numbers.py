"""Numbers as text: scores in points, intervals, counts, durations and p-values."""

from __future__ import annotations

import math

from mtlab import units
from mtlab.statistics.intervals import MeanInterval
from mtlab.units import format_si, format_span, in_points

NONE = "—"
UNEVEN = 0.2  #: share of the longer arm of an interval by which the other may be shorter and still be shown as ±
#: beside the mean, where a difference was shown, or that there is none larger than the margin, or none is looked for
MARKS = {"better": "†", "worse": "‡", "equivalent": "≈", "not learned": "○"}


def format_score(value: float | None, metric: str, *, sign: bool = False) -> str:
    """Format a result, or a difference with its sign; shares of examples in points with one decimal.

    >>> format_score(0.7234, "test/accuracy"), format_score(-0.004, "test/accuracy", sign=True)
    ('72.3', '−0.4')
    >>> format_score(0.51234, "test/loss"), format_score(-0.0, "test/loss", sign=True)
    ('0.512', '+0')
    """
    if value is None:
        return NONE
    if metric.startswith("cost/"):
        mark = "−" if value < 0 else "+" if sign else ""
        return mark + format_cost(abs(value), metric)
    digits = f"{100 * value:+z.1f}" if in_points(metric) else f"{value:+z.3g}"  # z: zero has no minus
    return (digits if sign else digits.removeprefix("+")).replace("-", "−")


def format_detectable(value: float | None, metric: str) -> str:
    """Format the smallest detectable difference; shares differ by at most 100 points.

    >>> format_detectable(5.68, "test/accuracy")
    '> 100'
    """
    return "> 100" if value is not None and in_points(metric) and value > 1 else format_score(value, metric)


def format_margin(value: float, metric: str) -> str:
    """Format the largest difference that counts as none, with no more digits than it has.

    >>> format_margin(0.005, "test/accuracy"), format_margin(0.02, "test/loss")
    ('0.5 points', '0.02')
    """
    return f"{100 * value:.6g} points" if in_points(metric) else f"{value:.6g}"


def format_interval(
    value: float | None, interval: tuple[float, float] | None, metric: str, *, sign: bool = False
) -> str:
    """Format a result with ± the longer arm of its interval; with both ends where the arms differ much.

    >>> format_interval(0.723, (0.692, 0.754), "test/accuracy"), format_interval(0.3, (0.2804, 0.3196), "test/loss")
    ('72.3 ± 3.1', '0.300 ± 0.020')
    >>> format_interval(-0.0001, (-0.0201, 0.0199), "test/loss", sign=True)
    '+0.000 ± 0.020'
    >>> format_interval(0.982, (0.871, 0.998), "test/accuracy")
    '98.2 [87.1, 99.8]'
    >>> format_interval(120, (100, 140), "cost/memory")
    '120 MiB ± 20 MiB'
    """
    if value is None or interval is None:
        return format_score(value, metric, sign=sign)
    below, above = value - interval[0], interval[1] - value
    half = max(below, above)
    beyond = in_points(metric) and not sign and not half <= value <= 1 - half
    if beyond or abs(above - below) > UNEVEN * half:
        ends = ", ".join(format_score(end, metric, sign=sign) for end in interval)
        return f"{format_score(value, metric, sign=sign)} [{ends}]"
    if in_points(metric) or metric.startswith("cost/") or not half > 0:
        return f"{format_score(value, metric, sign=sign)} ± {format_score(half, metric)}"
    # Two digits of the interval, and the result to the same place.
    places = max(0, 1 - math.floor(math.log10(half)))
    shown = f"{value:+z.{places}f}" if sign else f"{value:z.{places}f}"
    return f"{shown} ± {half:.{places}f}".replace("-", "−")


def format_mean(estimate: MeanInterval | None, metric: str) -> str:
    """Format a mean over seeds with its interval; two clumps of seeds as the mean and number of each.

    >>> from mtlab.statistics.intervals import Clump
    >>> format_mean(MeanInterval(5, 0.748, 0.3, None, clumps=(Clump(2, 0.4), Clump(3, 0.98))), "test/accuracy")
    '40.0 (2 seeds), 98.0 (3)'
    """
    if estimate is None:
        return NONE
    if not estimate.clumps:
        return format_interval(estimate.mean, estimate.interval, metric)
    (lower, upper), shown = estimate.clumps, [format_score(clump.mean, metric) for clump in estimate.clumps]
    return f"{shown[0]} ({format_span([lower.n], 'seed')}), {shown[1]} ({upper.n})"


def add_mark(text: str, outcome: str) -> str:
    """Add the mark of a difference that was shown.

    >>> add_mark("72.3 ± 3.1", "better"), add_mark("72.3 ± 3.1", "undecided")
    ('72.3 ± 3.1 †', '72.3 ± 3.1')
    """
    return f"{text} {MARKS[outcome]}" if outcome in MARKS else text


def format_published(value: float, metric: str) -> str:
    """Format a published result: an accuracy above 1 is in points already.

    >>> format_published(74.5, "test/accuracy"), format_published(0.745, "test/accuracy")
    ('74.5', '74.5')
    >>> format_published(79.15, "test-std")
    '79.15'
    """
    return f"{value:g}" if abs(value) > 1 or not in_points(metric) else format_score(value, metric)


def format_cost(value: float, metric: str) -> str:
    """Format a cost in its own unit."""
    if metric == "cost/seconds":
        return format_duration(value)
    return f"{value:.0f} MiB" if metric == "cost/memory" else format_count(value)


def format_count(value: float | None) -> str:
    """Format a large number with three digits.

    >>> format_count(404_300), format_count(14.0e6), format_count(1.24e9), format_count(950)
    ('404 k', '14.0 M', '1.24 G', '950')
    """
    return NONE if value is None else format_si(value)


def format_duration(seconds: float | None) -> str:
    """Format a duration, see `units.format_duration`."""
    return NONE if seconds is None else units.format_duration(seconds)


def format_p_value(p: float, alpha: float) -> str:
    """Format a p-value, never rounded across the level that it is compared with.

    >>> [format_p_value(p, 0.05) for p in (0.0031, 0.2, 1e-9, 0.0498, 0.05001)]
    ['p = 0.003', 'p = 0.20', 'p < 0.001', 'p = 0.0498', 'p = 0.05001']
    >>> format_p_value(0.0102, 0.01), format_p_value(0.102, 0.1)
    ('p = 0.0102', 'p = 0.102')
    >>> format_p_value(0.0008, 0.0005), format_p_value(0.0003, 0.0005)
    ('p = 0.001', 'p < 0.0005')
    """
    if p < min(0.001, alpha):
        return f"p < {min(0.001, alpha):g}"
    places = 2 if p >= 0.1 else 4 if 0.045 <= p < 0.055 else 3
    while (float(f"{p:.{places}f}") <= alpha) != (p <= alpha):
        places += 1
    return f"p = {p:.{places}f}"


def format_level(alpha: float) -> str:
    """Format the level of an interval.

    >>> format_level(0.05), format_level(0.005)
    ('95%', '99.5%')
    """
    return f"{100 * (1 - alpha):.4g}%"
