"""Time things in turn, round after round, so that a busy machine is busy for all alike, and compare them by ratios.

CPU seconds are what to compare: wall seconds depend on who else is at work. A ratio is taken within each round, and the
median of the rounds is told, with the smallest and the largest beside it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

ROUNDS = 7


@dataclass(frozen=True)
class Seconds:
    """What one call took: CPU seconds of this process (all its threads) and its children, and wall seconds."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Ratio:
    """One thing's time as a share of another's: median, smallest and largest over rounds."""

    median: float
    low: float
    high: float
    rounds: int


def _cpu() -> float:
    children = os.times()  # of a hundredth of a second's resolution
    return time.process_time() + children.children_user + children.children_system


def measure(work: Callable[[], object]) -> Seconds:
    """Time one call."""
    cpu, wall = _cpu(), time.perf_counter()
    work()
    return Seconds(_cpu() - cpu, time.perf_counter() - wall)


def alternate(
    work: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, warm: int = 1
) -> dict[str, list[Seconds]]:
    """Time each in turn, `rounds` times, after `warm` rounds that are not counted."""
    found: dict[str, list[Seconds]] = {name: [] for name in work}
    for turn in range(warm + rounds):
        for name, each in work.items():
            taken = measure(each)
            if turn >= warm:
                found[name].append(taken)
    return found


def ratio(ours: list[Seconds], theirs: list[Seconds], clock: str = "cpu") -> Ratio:
    """Compare two lists of the same rounds by their `cpu` or `wall` seconds."""
    return over_rounds(getattr(a, clock) / getattr(b, clock) for a, b in zip(ours, theirs, strict=True))


def over_rounds(each: Iterable[float]) -> Ratio:
    """Summarise the ratios of all rounds."""
    known = list(each)
    return Ratio(statistics.median(known), min(known), max(known), len(known))


def median(taken: list[Seconds], clock: str = "cpu") -> float:
    """Return the median seconds."""
    return statistics.median(getattr(each, clock) for each in taken)
