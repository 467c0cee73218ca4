"""Dot-and-interval plots in a line of text, so that people can look before they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtlab.statistics import MeanInterval


@dataclass(frozen=True)
class PlotScale:
    """The axis that all lines of a table share."""

    low: float
    high: float
    width: int  #: characters

    def place(self, value: float) -> int:
        """Return the character of a value; outside 0 … width − 1 if it lies off the scale."""
        return round((value - self.low) / (self.high - self.low) * (self.width - 1))


def choose_scale(
    means: Sequence[MeanInterval], width: int, bounds: tuple[float, float] | None = None
) -> PlotScale | None:
    """Choose a scale that shows all means, and their intervals unless those are far wider than what means differ by.

    Two seeds can give an interval of ±60 points: drawn in full, it would squeeze all dots into one.

    Args:
        means: those to be drawn.
        width: characters.
        bounds: values that the metric cannot leave, though its intervals may.

    Returns:
        None without means.

    """
    if not means:
        return None
    centres = [found.mean for found in means]
    halves = [found.interval[1] - found.mean for found in means if found.interval is not None]
    room = max(max(centres) - min(centres), min(halves, default=0.0)) or 0.05 * abs(centres[0]) or 1.0
    low = max(min(centres) - room, min(found.interval[0] if found.interval else found.mean for found in means))
    high = min(max(centres) + room, max(found.interval[1] if found.interval else found.mean for found in means))
    if high <= low:
        low, high = low - room, high + room
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return PlotScale(low, high, width)


def draw_interval(found: MeanInterval | None, axis: PlotScale | None, reference: float | None = None) -> str:
    """Draw a mean as a dot, its interval as a line, and the baseline's mean as a dotted upright.

    An interval that leaves the scale ends in a triangle.

    >>> line(Mean(5, 0.5, 0.1, (0.3, 0.7)), Scale(0.0, 1.0, 21), reference=0.9)
    '      ├───●───┤   ┊  '
    """
    if axis is None:
        return ""
    cells = [" "] * axis.width
    if found is not None and found.interval is not None:
        first, last = (axis.place(end) for end in found.interval)
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
    if reference is not None and 0 <= (at := axis.place(reference)) < axis.width:
        cells[at] = {" ": "┊", "─": "┼"}.get(cells[at], cells[at])
    if found is not None:
        cells[min(max(axis.place(found.mean), 0), axis.width - 1)] = "●"
    return "".join(cells)
