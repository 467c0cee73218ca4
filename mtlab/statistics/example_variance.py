"""What the sample of test examples adds to the variance of a mean difference, with examples in clusters.

A test set is a sample, too. A method may happen to be good at the pictures that were drawn, in every seed alike: the
spread between seeds does not show it. Questions about one picture share it, so that pictures, not questions, are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mtlab.statistics.numbers import Floats

UNSEEN = 4  #: examples, see `example_variance`


@dataclass(frozen=True)
class ExampleVariance:
    """The variance that examples add to a mean difference over seeds and examples."""

    examples: int
    clusters: int
    variance: float  #: of the mean difference, beyond what the spread between seeds already holds; 0 or more
    df: float  #: degrees of freedom of `variance`: clusters − 1, or fewer where clusters are of unequal size
    design_effect: float | None  #: variance with these clusters ÷ variance if examples were independent


def example_variance(
    differences: npt.NDArray[Any],
    clusters: Sequence[Any] | npt.NDArray[Any] | None = None,
    largest: float = 0.0,
    sides: Sequence[npt.NDArray[np.bool_]] = (),
) -> ExampleVariance | None:
    """Estimate the variance that examples add, by the components of a seeds × examples table.

    With T_g the sum of the differences of cluster g, averaged over seeds, the cluster-robust variance of the mean is
    G/(G − 1) Σ_g (T_g − m_g d̄)² / m² (Cameron and Miller 2015). It holds the chance of single trainings on single
    examples, which the spread between seeds holds already: the same sum over the residuals of seeds × clusters
    estimates that part, and is subtracted (Hillis 2007, for readers × cases). Negative estimates are 0.

    Where few examples differ, and above all where none does, others that were not drawn may: that is counted as if
    `UNSEEN` more had differed by as much as they can, times the design effect. Without it no test set would be too
    small to show that two variants are equivalent (for proportions Agresti and Min 2005 add two).

    Args:
        differences: variant − baseline of each seed and example, [n, m], with n ≥ 2.
        clusters: which examples belong together, [m] values of any kind; None: each stands alone.
        largest: difference that one example can have, 1 for right or wrong; 0: not known, and nothing is added.
        sides: where variant and baseline have other examples, which of the m each has, [m]: clusters and degrees of
            freedom are then those of the one with fewer, as its mean may be all that varies (cautious).

    Returns:
        None for a single cluster, of either side, of which no variance can be estimated.

    Raises:
        ValueError: not a table of at least two seeds.

    """
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or not np.isfinite(table).all():
        raise ValueError("expected differences of at least two seeds × examples, all finite")
    n, m = table.shape
    number = np.arange(m) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    sizes = np.bincount(number).astype(np.float64)
    count = len(sizes)
    own = [np.bincount(number[side], minlength=count).astype(np.float64) for side in sides] or [sizes]
    fewest = min(np.count_nonzero(side) for side in own)
    if fewest < 2:
        return None
    sums = np.stack([np.bincount(number, seed, count) for seed in table])  # [n, G]
    means = table.mean(1)
    common = sums.mean(0) - sizes * means.mean()  # [G]
    chance = sums - np.outer(means, sizes) - common  # [n, G]
    correction = fewest / (fewest - 1) / m**2
    whole = correction * float((common**2).sum())
    if whole <= (1e-10 * float(np.abs(table).max())) ** 2 / m:  # rounding alone
        whole = 0.0
    within_seeds = correction * float((chance**2).sum()) / (n * (n - 1))
    effect = _design_effect(table.mean(0), whole)
    least = min(side.sum() for side in own)
    unseen = UNSEEN * float(largest / least) ** 2 * max(1.0, m / count if effect is None else effect)
    return ExampleVariance(
        examples=m,
        clusters=count,
        variance=max(0.0, whole - within_seeds) + unseen,
        df=min(map(_effective_df, own)),
        design_effect=effect,
    )


def _effective_df(sizes: Floats) -> float:
    """Degrees of freedom of a sum of squares over clusters whose variance grows with the square of their size.

    Satterthwaite's, less one for the mean; G − 1 for equal sizes (Carter, Schnepel and Steigerwald 2017).
    """
    return max(1.0, float((sizes**2).sum() ** 2 / (sizes**4).sum()) - 1)


def _design_effect(means: Floats, clustered: float) -> float | None:
    independent = float(means.var(ddof=1)) / len(means)
    return clustered / independent if independent > 0 else None
