"""What a comparison of n seeds can detect."""

from __future__ import annotations

from bisect import bisect_left

from mtlab.statistics.example_variance import ExampleVariance
from mtlab.statistics.numbers import quantile_t
from mtlab.statistics.paired import ErrorParts

POWER = 0.8  #: chance of a test to detect the smallest difference that it is said to detect
HOPELESS = 1e5  #: a quantile of t beyond which scipy's search for a noncentral one may not end
ENDLESS = 1e6  #: degrees of freedom from which on Student's t is the normal distribution


def smallest_detectable(
    sd: float, n: int, alpha: float = 0.05, power: float = POWER, examples: ExampleVariance | None = None
) -> float | None:
    """Return the smallest true difference that n pairs of seeds detect with this power, by the noncentral t.

    With variance over examples, its degrees of freedom are those at which Student's t has the test's critical value.

    Args:
        sd: standard deviation of the paired differences between seeds, in the metric's unit (1: the answer is in SDs).
        n: pairs of seeds.
        alpha: two-sided level of the test.
        power: the chance of detecting it. That of "detecting" its opposite is neglected: far below 1e-6 at 0.8.
        examples: what the sample of examples adds, however many seeds there are.

    Returns:
        The difference in the unit of `sd`; None where nothing can be said: fewer than two seeds, no spread, or a level
        that so few seeds never reach.

    """
    from scipy import special

    if n < 2:
        return None
    parts = ErrorParts(sd**2 / n, n, examples)
    if not parts.variance > 0:
        return None
    error = parts.variance**0.5
    critical = parts.half_width(alpha) / error
    if critical > HOPELESS:
        return None
    df = float(n - 1) if error == sd / n**0.5 else _df_of(critical, alpha)
    if df >= ENDLESS:
        return float((critical + special.ndtri(power)) * error)
    return float(special.nctdtrinc(df, 1 - power, critical) * error)


def seeds_to_detect(
    difference: float,
    sd: float,
    alpha: float = 0.05,
    power: float = POWER,
    *,
    examples: ExampleVariance | None = None,
    most: int,
) -> int | None:
    """Return the fewest pairs of seeds that detect a true difference with this power, see `smallest_detectable`.

    Returns:
        None where `most` are not enough, or nothing can be said.

    """

    def enough(n: int) -> bool:
        found = smallest_detectable(sd, n, alpha, power, examples)
        return found is not None and found <= abs(difference)

    fewest = bisect_left(range(2, most + 1), True, key=enough) + 2
    return fewest if fewest <= most else None


def _df_of(critical: float, alpha: float) -> float:
    """Return the degrees of freedom at which Student's t has this critical value."""
    from scipy import special

    if critical <= quantile_t(1 - alpha / 2, ENDLESS):
        return ENDLESS
    return float(special.stdtridf(1 - alpha / 2, critical))
