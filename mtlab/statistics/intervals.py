"""The mean of a variant over seeds, and its interval.

A metric with bounds, such as an accuracy, has its t interval on the arcsine scale: with u the mean as a share of the
range, 2 arcsin √u ± t · error / √(u (1 − u)), carried back. It lies within the bounds, is longer on the side where
there is room, and is the usual mean ± t · error where that is far from them. docs/statistics.md compares its coverage
with those of a t interval that is cut at the bounds, and of others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mtlab.statistics.numbers import Numbers, finite_numbers, quantile_t, sample_sd

Bounds = tuple[float, float]

APART = 0.1  #: two clumps are at least this share of the metric's range apart,
GAP = 0.8  #: and the gap between them is at least this share of the range of all seeds
CLUMPED_SEEDS = 4  #: with fewer, a gap shows nothing
ROUNDING = 1e-9  #: of the metric's range: what a mean over examples may lie outside of it


@dataclass(frozen=True)
class Clump:
    """Seeds with results near each other, and far from those of all others."""

    n: int
    mean: float


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds."""

    n: int
    mean: float
    sd: float | None  #: between seeds; None for one seed
    interval: tuple[float, float] | None  #: None where seeds say nothing about the spread, or fall into two clumps
    clumps: tuple[Clump, ...] = ()  #: the lower and the upper one, if seeds fall into two clumps


def mean_interval(values: Numbers, alpha: float = 0.05, bounds: Bounds | None = None) -> MeanInterval:
    """Mean and t interval of one result per seed.

    Args:
        values: one number a seed, at least one.
        alpha: 1 − the level of the interval.
        bounds: of the metric: the interval lies within them, and two clumps of seeds have none.

    Raises:
        ValueError: no value, one that is not finite, or one outside the bounds by more than `ROUNDING`.

    """
    seeds = finite_numbers(values)
    if bounds is not None:
        if not all(within(value, bounds) for value in seeds.tolist()):
            raise ValueError(f"a value lies outside {bounds[0]:g} and {bounds[1]:g}")
        seeds = seeds.clip(*bounds)
    mean, n = float(seeds.mean()), seeds.size
    if n == 1:
        return MeanInterval(1, mean, None, None)
    sd = sample_sd(seeds)
    if sd == 0:
        return MeanInterval(n, mean, sd, None)  # equal seeds say nothing of the spread
    half = quantile_t(1 - alpha / 2, n - 1) * sd / n**0.5
    if bounds is None:
        return MeanInterval(n, mean, sd, (mean - half, mean + half))
    found = MeanInterval(n, mean, sd, _bounded(mean, half, bounds))
    return separate(found, _clumps(sorted(seeds.tolist()), bounds))


def within(value: float, bounds: Bounds) -> bool:
    """Tell whether a value lies within bounds, but for the rounding of a mean.

    >>> within(1.0000000000000002, (0.0, 1.0)), within(1.01, (0.0, 1.0))
    (True, False)
    """
    slack = ROUNDING * (bounds[1] - bounds[0])
    return bounds[0] - slack <= value <= bounds[1] + slack


def separate(found: MeanInterval, clumps: tuple[Clump, ...]) -> MeanInterval:
    """Tell two clumps instead of an interval: no interval describes them. Without clumps nothing changes."""
    if not clumps:
        return found
    return replace(found, interval=None, clumps=clumps)


def split_seeds(values: Sequence[float], lower: Collection[int]) -> tuple[Clump, ...]:
    """Make clumps of the values at these places and of all others; none if either is empty.

    >>> split_seeds([0.5, 1.0, 0.75], [0])
    (Clump(n=1, mean=0.5), Clump(n=2, mean=0.875))
    """
    parts = [[value for at, value in enumerate(values) if (at in lower) == low] for low in (True, False)]
    return tuple(Clump(len(part), sum(part) / len(part)) for part in parts) if all(parts) else ()


def clip(interval: tuple[float, float] | None, bounds: Bounds | None) -> tuple[float, float] | None:
    """Cut an interval at bounds, which takes no possible value out of it."""
    if interval is None or bounds is None:
        return interval
    return (max(interval[0], bounds[0]), min(interval[1], bounds[1]))


def _bounded(mean: float, half: float, bounds: Bounds) -> tuple[float, float]:
    """Carry mean ± half over to the arcsine scale and back."""
    low, high = bounds
    share = (mean - low) / (high - low)
    centre, reach = 2 * math.asin(share**0.5), half / (high - low) / (share * (1 - share)) ** 0.5
    angles = (max(0.0, centre - reach), min(math.pi, centre + reach))
    first, last = (low + (high - low) * math.sin(angle / 2) ** 2 for angle in angles)
    return (first, last)


def _clumps(ordered: Sequence[float], bounds: Bounds) -> tuple[Clump, ...]:
    """Split seeds at their largest gap, if it is large: at 5 normal seeds it is in 2 %, at 10 in fewer than 0.01 %."""
    if len(ordered) < CLUMPED_SEEDS:
        return ()
    gaps = [above - below for below, above in pairwise(ordered)]
    widest = max(gaps)
    if widest < APART * (bounds[1] - bounds[0]) or widest < GAP * (ordered[-1] - ordered[0]):
        return ()
    return split_seeds(ordered, range(gaps.index(widest) + 1))
