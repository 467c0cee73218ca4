"""Numbers of a test, checked, and the distributions that it needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = Sequence[float] | npt.NDArray[Any]


def finite_numbers(values: Numbers) -> Floats:
    """Return the numbers as an array.

    Raises:
        ValueError: no number, or one that is not finite.

    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError("statistics take at least one number, all finite")
    return array


ROUNDING = 1e-10  #: share of the largest value; a standard deviation that is no more is of rounding alone


def sample_sd(values: Floats) -> float:
    """Sample standard deviation; 0 where values differ by rounding alone."""
    sd = float(values.std(ddof=1))
    return 0.0 if sd <= ROUNDING * float(np.abs(values).max()) else sd


def quantile_t(level: float, df: float) -> float:
    """Quantile of Student's t; of the normal distribution for infinite degrees of freedom."""
    from scipy import special

    return float(special.ndtri(level) if df == math.inf else special.stdtrit(df, level))


def p_of_t(t: float, df: float) -> float:
    """Two-sided p-value of a t statistic."""
    from scipy import special

    return 2 * float(special.ndtr(-abs(t)) if df == math.inf else special.stdtr(df, -abs(t)))
