"""Intervals and tests over seeds.

The claim is about a method, so the *seed* is the replicate. Two variants are compared on the seeds that both have, by
the differences of one seed's two results. Pooling test examples over seeds would treat 5 trainings as 10,000
independent observations and call four true nulls out of five "significant"; no function here does it.

Distributions come from `scipy.special`; `scipy.stats` and `statsmodels` (which imports pandas) would each cost a
report more time than the rest of it together. The tests compare every number with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mtlab.errors import UserError, nearest

Floats = npt.NDArray[np.float64]
Numbers = Sequence[float] | npt.NDArray[Any]

BOOTSTRAP_SEEDS = 10  #: below this the bootstrap over seeds rejects true nulls too often
RESAMPLES = 10_000


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds."""

    n: int
    mean: float
    sd: float | None  #: between seeds; None for one seed
    interval: tuple[float, float] | None  #: None where seeds say nothing about the spread
    note: str | None = None  #: why there is no interval


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences, and the evidence that it is not zero."""

    n: int  #: pairs of seeds
    difference: float
    error: float | None  #: standard error of `difference`; None where it cannot be estimated
    interval: tuple[float, float] | None
    p: float | None  #: two-sided
    note: str | None = None  #: why an interval or a p-value is absent or is not the test's usual one


def mean_interval(values: Numbers, alpha: float = 0.05) -> MeanInterval:
    """Mean and t interval of one result per seed.

    Args:
        values: one number a seed, at least one.
        alpha: 1 − the level of the interval.

    Raises:
        ValueError: no value, or one that is not finite.

    """
    seeds = _finite(values)
    mean = float(seeds.mean())
    if seeds.size == 1:
        return MeanInterval(1, mean, None, None, "one seed: no interval")
    sd = _sd(seeds)
    half = quantile_t(1 - alpha / 2, seeds.size - 1) * sd / seeds.size**0.5
    note = "all seeds gave the same result" if sd == 0 else None
    return MeanInterval(seeds.size, mean, sd, (mean - half, mean + half), note)


def paired_t_examples(differences: Numbers, examples: Numbers | None, alpha: float = 0.05) -> Difference:
    """Paired t test over seeds that also counts the test set as a sample: variance s²_d / n + s²_e / m.

    Conservative by design: differences between seeds hold a part of the sampling of examples already.

    Args:
        differences: variant − baseline, one number for each seed that both have.
        examples: for each of m test examples, outcome of the variant − outcome of the baseline, averaged over those
            seeds; None where no outcomes were recorded, which sets s²_e to 0.
        alpha: 1 − the level of the interval.

    Raises:
        ValueError: no difference, or a number that is not finite.

    """
    seeds = _finite(differences)
    mean = float(seeds.mean())
    if seeds.size == 1:
        return Difference(1, mean, None, None, None, "one seed: no test")
    outcomes = None if examples is None or len(examples) < 2 else _finite(examples)
    variance = _sd(seeds) ** 2 / seeds.size + (0.0 if outcomes is None else _sd(outcomes) ** 2 / outcomes.size)
    if variance == 0:
        return _without_spread(seeds.size, mean)
    error = variance**0.5
    return _from_t(
        seeds.size, mean, error, quantile_t(1 - alpha / 2, seeds.size - 1), _p_of_t(mean / error, seeds.size)
    )


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
    seeds = _finite(differences)
    n = seeds.size
    if n < BOOTSTRAP_SEEDS:
        raise UserError(
            f"bootstrap needs at least {BOOTSTRAP_SEEDS} seeds, not {n}; use paired_t_examples", key="report.test"
        )
    mean, sd = float(seeds.mean()), _sd(seeds)
    if sd == 0:
        return _without_spread(n, mean)
    error = sd / n**0.5
    drawn = seeds[np.random.default_rng(0).integers(n, size=(resamples, n))]
    spread = drawn.std(axis=1, ddof=1)
    # A resample of one value repeated has no spread: it counts as "as extreme as anything", which is the safe side.
    shift = np.abs(drawn.mean(axis=1) - mean)
    t = np.full(resamples, np.inf)
    np.divide(shift, spread / n**0.5, out=t, where=spread > 0)
    p = (1 + int((t >= abs(mean / error)).sum())) / (1 + resamples)
    critical = float(np.quantile(t, 1 - alpha, method="higher"))
    return _from_t(n, mean, error, critical, p)


def holm(pvalues: Sequence[float]) -> list[float]:
    """Correct p-values for having made all of these comparisons (Holm 1979), in the order given.

    Written out, since `statsmodels.stats.multitest` imports pandas and takes a second; scipy has no Holm.
    """
    order = sorted(range(len(pvalues)), key=lambda index: pvalues[index])
    corrected = [1.0] * len(pvalues)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        corrected[index] = highest
    return corrected


POWER = 0.8  #: chance of a test to detect the smallest difference that it is said to detect
HOPELESS = 1e5  #: a quantile of t beyond which scipy's search for a noncentral one may not end


def smallest_detectable(sd: float, n: int, alpha: float = 0.05, power: float = POWER) -> float | None:
    """Return the smallest true difference that n pairs of seeds detect with this power, by the noncentral t.

    Args:
        sd: standard deviation of the paired differences, in the metric's unit (1: the answer is in SDs; a standard
            error e of the mean difference is sd = e·√n).
        n: pairs of seeds.
        alpha: two-sided level of the test.
        power: the chance of detecting it. That of "detecting" its opposite is neglected: far below 1e-6 at 0.8.

    Returns:
        The difference in the unit of `sd`; None where nothing can be said: fewer than two seeds, no spread, or a level
        that so few seeds never reach.

    """
    from scipy import special

    if n < 2 or not sd > 0:
        return None
    critical = quantile_t(1 - alpha / 2, n - 1)
    if critical > HOPELESS:
        return None
    noncentrality = special.nctdtrinc(n - 1, 1 - power, critical)
    return float(noncentrality * sd / n**0.5)


@dataclass(frozen=True)
class SeedTest:
    """A test that `report.test` may name."""

    seeds: int  #: the fewest pairs of seeds that it takes
    words: str
    run: Callable[[Numbers, Numbers | None, float], Difference]  #: differences, examples, alpha


TESTS: Mapping[str, SeedTest] = {
    "paired_t": SeedTest(2, "paired t test over seeds", lambda d, _, alpha: paired_t_examples(d, None, alpha)),
    "paired_t_examples": SeedTest(
        2, "paired t test over seeds, with the variance over test examples", paired_t_examples
    ),
    "bootstrap": SeedTest(BOOTSTRAP_SEEDS, "studentised bootstrap over seeds", lambda d, _, alpha: bootstrap(d, alpha)),
}


def lookup_test(test: str) -> SeedTest:
    """Return the test of this name.

    Raises:
        UserError: no such test.

    """
    if test == "mcnemar":
        raise UserError("mcnemar compares two trained checkpoints, not methods over seeds", key="report.test")
    if test not in TESTS:
        raise UserError(f"unknown test {test!r}; {nearest(test, TESTS)}", key="report.test")
    return TESTS[test]


def quantile_t(level: float, df: int) -> float:
    """Quantile of Student's t."""
    from scipy import special

    return float(special.stdtrit(df, level))


def _p_of_t(t: float, n: int) -> float:
    from scipy import special

    return 2 * float(special.stdtr(n - 1, -abs(t)))


def _from_t(n: int, mean: float, error: float, critical: float, p: float) -> Difference:
    return Difference(n, mean, error, (mean - critical * error, mean + critical * error), p)


def _without_spread(n: int, mean: float) -> Difference:
    """Return the result for differences that are the same in every seed.

    A t test would divide by zero and call a constant difference certain, however few the seeds. What n equal signs do
    support is the exact sign-flip test, p = 2 / 2ⁿ.
    """
    if mean == 0:
        return Difference(n, 0.0, 0.0, (0.0, 0.0), 1.0, "identical results in every seed")
    return Difference(n, mean, None, None, 2.0 ** (1 - n), "the same difference in every seed: exact sign-flip test")


def _sd(values: Floats) -> float:
    """Sample standard deviation; 0 where values differ by rounding alone."""
    sd = float(values.std(ddof=1))
    return 0.0 if sd <= 1e-10 * float(np.abs(values).max()) else sd


def _finite(values: Numbers) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError("statistics take at least one number, all finite")
    return array
