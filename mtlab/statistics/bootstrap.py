"""A bootstrap over seeds."""

from __future__ import annotations

import numpy as np

from mtlab.errors import UserError
from mtlab.statistics.numbers import ROUNDING, Numbers, finite_numbers, sample_sd
from mtlab.statistics.paired import Difference, difference_without_spread

BOOTSTRAP_SEEDS = 10  #: below this the bootstrap over seeds rejects true nulls too often
RESAMPLES = 10_000


def bootstrap(differences: Numbers, alpha: float = 0.05, *, resamples: int = RESAMPLES) -> Difference:
    """Studentised bootstrap over seeds (Efron and Tibshirani 1993, ch. 12), symmetric; the same numbers every time.

    Args:
        differences: variant − baseline, one number for each seed that both have.
        alpha: 1 − the level of the interval.
        resamples: how many.

    Raises:
        UserError: fewer than 10 pairs of seeds.
        ValueError: a difference that is not finite.

    """
    seeds = finite_numbers(differences)
    n = seeds.size
    if n < BOOTSTRAP_SEEDS:
        raise UserError(
            f"bootstrap needs at least {BOOTSTRAP_SEEDS} seeds, not {n}; use paired_t_examples", key="report.test"
        )
    mean, sd = float(seeds.mean()), sample_sd(seeds)
    if sd == 0:
        return difference_without_spread(n, mean)
    error = sd / n**0.5
    drawn = seeds[np.random.default_rng(0).integers(n, size=(resamples, n))]
    spread = drawn.std(axis=1, ddof=1)
    spread[spread <= ROUNDING * np.abs(seeds).max()] = 0.0
    # A resample of one value repeated has no spread: it counts as "as extreme as anything", which is the safe side.
    shift = np.abs(drawn.mean(axis=1) - mean)
    t = np.full(resamples, np.inf)
    np.divide(shift, spread / n**0.5, out=t, where=spread > 0)
    p = (1 + int((t >= abs(mean / error)).sum())) / (1 + resamples)
    critical = float(np.quantile(t, 1 - alpha, method="higher"))
    if not np.isfinite(critical):  # nearly all differences are equal: too many resamples have no spread
        return Difference(n, mean, error, None, p, "no interval: nearly all differences are the same")
    return Difference(n, mean, error, (mean - critical * error, mean + critical * error), p)
