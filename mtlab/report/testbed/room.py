"""The room of a testbed: what the best level for each family gains over the best single level for all.

An upper bound of what adaptivity can gain: an oracle takes for each family of questions the single level that is best
there. Levels are chosen on validation data, and the gain is measured on test data, so that it can be negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from mtlab.report.testbed.rows import CardRow, best_on_validation
from mtlab.statistics.intervals import MeanInterval, clip, mean_interval


@dataclass(frozen=True)
class FamilyRoom:
    """One family of questions."""

    family: str
    share: float  #: of the test examples
    best: CardRow  #: the single level that is best here on validation data
    at_best: float  #: on test data, mean over seeds
    at_single: float  #: the same at the best single level for all

    @property
    def gain(self) -> float:
        """What its own best level gains."""
        return self.at_best - self.at_single


@dataclass(frozen=True)
class Room:
    """What the best level for each family gains over the best single level for all."""

    single: CardRow  #: the best single level for all, on validation data
    families: tuple[FamilyRoom, ...]
    oracle: MeanInterval  #: on test data, over seeds
    gain: MeanInterval  #: oracle − best single level, paired by seed


def measure_room(singles: Sequence[CardRow], shares: Mapping[str, float], alpha: float) -> Room | None:
    """Measure the room; None with fewer than two families or levels, or without a seed that all of them have.

    Args:
        singles: the rows of single levels.
        shares: family → its share of the test examples.
        alpha: 1 − the level of the intervals.

    """
    families = [name for name in sorted(shares) if all(_has_family(row, name) for row in singles)]
    seeds = sorted(set.intersection(*(set(row.test) for row in singles))) if singles else []
    if len(singles) < 2 or len(families) < 2 or not seeds:
        return None
    single = best_on_validation(singles)
    best = {name: best_on_validation(singles, name) for name in families}

    def average(chosen: Mapping[str, CardRow], seed: int) -> float:
        return sum(shares[name] * row.family_test[name][seed] for name, row in chosen.items())

    whole = sum(shares[name] for name in families)
    oracle = [average(best, seed) / whole for seed in seeds]
    fixed = [average(dict.fromkeys(families, single), seed) / whole for seed in seeds]

    gain = mean_interval([one - other for one, other in zip(oracle, fixed, strict=True)], alpha)

    def mean_over_seeds(row: CardRow, name: str) -> float:
        return fmean(row.family_test[name][seed] for seed in seeds)

    return Room(
        single=single,
        families=tuple(
            FamilyRoom(
                name,
                shares[name] / whole,
                best[name],
                mean_over_seeds(best[name], name),
                mean_over_seeds(single, name),
            )
            for name in families
        ),
        oracle=mean_interval(oracle, alpha, (0.0, 1.0)),
        gain=replace(gain, interval=clip(gain.interval, (-1.0, 1.0))),
    )


def _has_family(row: CardRow, family: str) -> bool:
    return bool(row.family_validation.get(family)) and set(row.family_test.get(family, ())) >= set(row.test)
