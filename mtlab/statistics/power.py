"""What a comparison of n seeds can detect."""

from __future__ import annotations

from mtlab.statistics.numbers import quantile_t

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
