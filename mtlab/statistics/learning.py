"""Has a variant learned anything? Its seeds against the best blind answer.

A variant that answers no better than one that sees neither text nor image has not been trained, and says nothing about
how levels are aggregated, whatever its difference to others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtlab.statistics.numbers import Floats

ERRORS = 2.0  #: a seed has learned if it is this many standard errors above the floor


@dataclass(frozen=True)
class Floor:
    """The score of the best blind answer, and how far chance carries a model that knows no more."""

    score: float
    error: float  #: standard error over examples of a model's score − `score`, of one seed; inf: it cannot be told


def floor_metrics(metric: str) -> tuple[str, str]:
    """Return the names of the metrics that hold the floor of a metric, and its standard error.

    >>> floor_metrics("test/accuracy/colour")
    ('test/accuracy_floor/colour', 'test/accuracy_floor_error/colour')
    """
    split, name, *family = metric.split("/")
    score, error = ("/".join([split, f"{name}_{what}", *family]) for what in ("floor", "floor_error"))
    return score, error


@dataclass(frozen=True)
class Learning:
    """Which seeds of a variant are above the floor."""

    floor: float  #: the highest, where seeds have several
    learned: tuple[int, ...]  #: seeds
    not_learned: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether all seeds have learned."""
        return not self.not_learned

    def among(self, seeds: Collection[int]) -> Learning:
        """Keep some seeds."""
        kept = (tuple(seed for seed in known if seed in seeds) for known in (self.learned, self.not_learned))
        return Learning(self.floor, *kept)

    @property
    def seeds(self) -> int:
        """How many were judged."""
        return len(self.learned) + len(self.not_learned)

    def __str__(self) -> str:
        """Say how many have not: `not learned (3 of 5 seeds)`."""
        if self.complete:
            return "learned"
        return f"not learned ({len(self.not_learned)} of {self.seeds} seed{'s' if self.seeds > 1 else ''})"


def blind_floor(scores: Floats, blind: Floats, clusters: npt.NDArray[np.int64]) -> Floor:
    """Compare a model's outcomes with those of the best blind answer on the same examples.

    The standard error is that of the mean of their differences, robust to clusters of examples: 0 for a model that
    gives the blind answer always. It is infinite where examples are so few, or of so few clusters, that not even all of
    them right would be `ERRORS` standard errors above the blind answer: then nobody can be told to have learned.

    Args:
        scores: the model's, [m], 1 at most.
        blind: of the blind answer, [m].
        clusters: number of each example's cluster, [m], from 0; those of no example do not count.

    """
    floor, numbered = float(blind.mean()), np.unique(clusters, return_inverse=True)[1]
    tells = 1 - floor > ERRORS * _standard_error(1 - blind, numbered)
    return Floor(floor, _standard_error(scores - blind, numbered) if tells else math.inf)


def _standard_error(values: Floats, clusters: npt.NDArray[np.int64]) -> float:
    """Return that of a mean over clusters numbered from 0; infinite for one of them."""
    sums = np.bincount(clusters, values - values.mean())
    count = len(sums)
    return math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(values) if count > 1 else math.inf


def judge_learning(results: Mapping[int, float], floors: Mapping[int, Floor]) -> Learning | None:
    """Judge the seeds of a variant: those more than two standard errors above their floor have learned.

    Args:
        results: seed → result, of which more is better.
        floors: seed → its floor; seeds without one, or without its error, are not judged.

    Returns:
        None where no seed is judged.

    """
    judged = sorted(seed for seed in results if seed in floors and math.isfinite(floors[seed].error))
    if not judged:
        return None
    learned = [seed for seed in judged if results[seed] - floors[seed].score > ERRORS * floors[seed].error]
    not_learned = tuple(seed for seed in judged if seed not in learned)
    return Learning(max(floors[seed].score for seed in judged), tuple(learned), not_learned)
