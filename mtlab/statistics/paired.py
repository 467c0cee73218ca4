"""Paired tests over seeds: is the mean of differences zero?"""

from __future__ import annotations

from dataclasses import dataclass

from mtlab.statistics.numbers import Numbers, finite_numbers, p_of_t, quantile_t, sample_sd


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences, and the evidence that it is not zero."""

    n: int  #: pairs of seeds
    difference: float
    error: float | None  #: standard error of `difference`; None where it cannot be estimated
    interval: tuple[float, float] | None
    p: float | None  #: two-sided
    note: str | None = None  #: why an interval or a p-value is absent or is not the test's usual one


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
    seeds = finite_numbers(differences)
    mean = float(seeds.mean())
    if seeds.size == 1:
        return Difference(1, mean, None, None, None, "one seed: no test")
    outcomes = None if examples is None or len(examples) < 2 else finite_numbers(examples)
    of_examples = 0.0 if outcomes is None else sample_sd(outcomes) ** 2 / outcomes.size
    variance = sample_sd(seeds) ** 2 / seeds.size + of_examples
    if variance == 0:
        return difference_without_spread(seeds.size, mean)
    error = variance**0.5
    return difference_from_t(
        seeds.size, mean, error, quantile_t(1 - alpha / 2, seeds.size - 1), p_of_t(mean / error, seeds.size - 1)
    )


def difference_from_t(n: int, mean: float, error: float, critical: float, p: float) -> Difference:
    """Return a difference with the interval mean ± critical · error."""
    return Difference(n, mean, error, (mean - critical * error, mean + critical * error), p)


def difference_without_spread(n: int, mean: float) -> Difference:
    """Return the result for differences that are the same in every seed.

    A t test would divide by zero and call a constant difference certain, however few the seeds. What n equal signs do
    support is the exact sign-flip test, p = 2 / 2ⁿ.
    """
    if mean == 0:
        return Difference(n, 0.0, 0.0, (0.0, 0.0), 1.0, "identical results in every seed")
    return Difference(n, mean, None, None, 2.0 ** (1 - n), "the same difference in every seed: exact sign-flip test")
