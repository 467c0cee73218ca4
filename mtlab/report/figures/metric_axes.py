"""Axes of metrics: a share of examples lies between 0 and 100 points, and its axis does, too."""

from __future__ import annotations

from collections.abc import Iterable

from mtlab.units import in_points

_PAD = 0.06  #: empty at each end of an axis, as a share of its values' range
_LEAST = 2.0  #: points that an axis of shares shows at least on each side of its values


def metric_scale(metric: str) -> int:
    """Return what values of a metric are multiplied by: 100 for shares of examples, which are shown in points."""
    return 100 if in_points(metric) else 1


def axis_title(metric: str) -> str:
    """Return the title of a metric's axis, with the unit of its shown values."""
    return f"{metric}, points" if in_points(metric) else metric


def metric_limits(metric: str, *, difference: bool = False) -> tuple[float, float] | None:
    """Return the lowest and highest shown value that a metric, or a difference of two of its values, can have."""
    if not in_points(metric):
        return None
    return (-100.0, 100.0) if difference else (0.0, 100.0)


def shown_interval(
    interval: tuple[float, float] | None, metric: str, *, difference: bool = False
) -> tuple[float, float] | None:
    """Return the ends of an interval as shown: scaled, and within what the metric can be; None without one."""
    if interval is None:
        return None
    low, high = (metric_scale(metric) * end for end in interval)
    limits = metric_limits(metric, difference=difference)
    return (low, high) if limits is None else (max(low, limits[0]), min(high, limits[1]))


def metric_range(values: Iterable[float], metric: str, *, difference: bool = False) -> list[float] | None:
    """Return the range of an axis that shows some values and leaves nothing of the metric's limits.

    Args:
        values: as shown, see `metric_scale`.
        metric: its name.
        difference: the values are differences of the metric.

    Returns:
        None where the metric has no limits: plotly chooses.

    """
    limits, listed = metric_limits(metric, difference=difference), list(values)
    if limits is None or not listed:
        return None
    low, high = min(listed), max(listed)
    pad = max(_LEAST, _PAD * (high - low))
    return [max(limits[0], low - pad), min(limits[1], high + pad)]
