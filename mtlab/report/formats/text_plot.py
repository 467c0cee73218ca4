"""Plots of a mean and its interval in one line of text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mtlab.statistics.intervals import MeanInterval


@dataclass(frozen=True)
class PlotScale:
    """The horizontal axis that all lines of a table share."""

    low: float
    high: float
    width: int  #: characters

    def place(self, value: float) -> int:
        """Return the column of a value; outside 0 … width − 1 if it lies off the scale."""
        return round((value - self.low) / (self.high - self.low) * (self.width - 1))


def choose_scale(
    means: Sequence[MeanInterval], width: int, bounds: tuple[float, float] | None = None
) -> PlotScale | None:
    """Choose a scale for all means and their intervals; intervals much wider than the range of means are cut.

    Two seeds can give an interval of ±60 points: drawn in full, it would move all dots to one place.

    Args:
        means: to draw.
        width: characters.
        bounds: range of the metric.

    Returns:
        None without means.

    """
    if not means:
        return None
    centres = [value for each in means for value in ([clump.mean for clump in each.clumps] or [each.mean])]
    halves = [estimate.interval[1] - estimate.mean for estimate in means if estimate.interval is not None]
    room = max(max(centres) - min(centres), min(halves, default=0.0)) or 0.05 * abs(centres[0]) or 1.0
    low = max(min(centres) - room, min([*centres, *(each.interval[0] for each in means if each.interval is not None)]))
    high = min(max(centres) + room, max([*centres, *(each.interval[1] for each in means if each.interval is not None)]))
    if high <= low:
        low, high = low - room, high + room
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return PlotScale(low, high, width)


def draw_interval(
    estimate: MeanInterval | None,
    axis: PlotScale | None,
    reference: float | None = None,
    seeds: Collection[float] = (),
) -> str:
    """Draw a mean as a dot (two clumps: circles), its interval as a line, the baseline's mean as a dotted upright.

    Several seeds are small dots. An interval that leaves the scale ends in a triangle.

    >>> draw_interval(MeanInterval(5, 0.5, 0.1, (0.3, 0.7)), PlotScale(0.0, 1.0, 21), reference=0.9)
    '      ├───●───┤   ┊  '
    >>> draw_interval(MeanInterval(3, 0.5, 0.1, (0.3, 0.7)), PlotScale(0.0, 1.0, 21), seeds=(0.4, 0.5, 0.6))
    '      ├─·─●─·─┤      '
    """
    if axis is None:
        return ""
    cells = [" "] * axis.width
    if estimate is not None and estimate.interval is not None:
        first, last = (axis.place(end) for end in estimate.interval)
        for at in range(max(first, 0), min(last, axis.width - 1) + 1):
            cells[at] = "─"
        if 0 <= first < axis.width:
            cells[first] = "├"
        if 0 <= last < axis.width:
            cells[last] = "┤"
        if first < 0:
            cells[0] = "◂"
        if last >= axis.width:
            cells[-1] = "▸"
    for at in map(axis.place, seeds if len(seeds) > 1 else ()):
        if 0 <= at < axis.width and cells[at] in " ─":
            cells[at] = "·"
    if reference is not None and 0 <= (at := axis.place(reference)) < axis.width:
        cells[at] = {" ": "┊", "─": "┼"}.get(cells[at], cells[at])
    if estimate is not None:
        for value in [clump.mean for clump in estimate.clumps] or [estimate.mean]:
            cells[min(max(axis.place(value), 0), axis.width - 1)] = "○" if estimate.clumps else "●"
    return "".join(cells)
