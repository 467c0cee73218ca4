"""The mean of a variant over seeds, and its interval."""

from __future__ import annotations

from dataclasses import dataclass

from mtlab.statistics.numbers import Numbers, finite_numbers, quantile_t, sample_sd


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds."""

    n: int
    mean: float
    sd: float | None  #: between seeds; None for one seed
    interval: tuple[float, float] | None  #: None where seeds say nothing about the spread
    note: str | None = None  #: why there is no interval


def mean_interval(values: Numbers, alpha: float = 0.05) -> MeanInterval:
    """Mean and t interval of one result per seed.

    Args:
        values: one number a seed, at least one.
        alpha: 1 − the level of the interval.

    Raises:
        ValueError: no value, or one that is not finite.

    """
    seeds = finite_numbers(values)
    mean = float(seeds.mean())
    if seeds.size == 1:
        return MeanInterval(1, mean, None, None, "one seed: no interval")
    sd = sample_sd(seeds)
    half = quantile_t(1 - alpha / 2, seeds.size - 1) * sd / seeds.size**0.5
    note = "all seeds gave the same result" if sd == 0 else None
    return MeanInterval(seeds.size, mean, sd, (mean - half, mean + half), note)
