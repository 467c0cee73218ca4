"""Boundaries and p-values of a paired t test that looks at the data several times, after more and more seeds.

Each look spends a part of alpha (Lan and DeMets 1983, Biometrika 70). The boundaries hold for Student's t with unknown
variance at any number of seeds, not for large samples only: without a true difference, the t statistics of growing n
are a Markov chain whose transitions are known exactly. With differences d, let u = Σd / √(Σd²), which is a monotone
function of t. The radius √(Σd²) is independent of the direction of (d₁ … dₙ), hence of u at all looks so far, so that

    u' = (u + y) / √(1 + y²),  y = dₙ₊₁ / √(Σ_{i≤n} dᵢ²), which is t with n degrees of freedom divided by √n.

`look_boundaries` integrates this chain over a grid, as Armitage, McPherson and Rowe (1969) do for normal data.

The boundaries are levels that the p-value of a look must not exceed, so they fit every test whose p-value is valid at a
single look. Where the test also counts the sample of examples, which all looks share, looks are more alike than the
chain takes them to be, and the error is smaller than alpha: `benchmarks/sequential_seeds.py` simulates it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from mtlab.statistics.numbers import Floats
from mtlab.statistics.spending import Spending, spent_alpha

LARGEST = 0.5  #: largest alpha of which boundaries are known; a larger p-value of several looks is called 1
SMALLEST = 1e-6  #: smallest one; no p-value of several looks is smaller
_ALPHAS = 97  #: levels between them that boundaries are computed for
_BINS = 320  #: of the state, on the scale of normal quantiles of its nominal p-value
_EDGE = 8.0  #: largest quantile; a level beyond it, 6e-16, cannot be reached
_EDGES = np.linspace(-_EDGE, _EDGE, _BINS + 1)


@dataclass(frozen=True)
class Boundaries:
    """The levels that the p-values of looks are compared with, for every alpha."""

    looks: tuple[int, ...]  #: seeds at each
    alphas: Floats  #: [A], ascending
    levels: Floats  #: [A, looks]: at alpha, a look is significant where its p-value is not above

    def at(self, alpha: float) -> tuple[float, ...]:
        """Return the level of each look for this alpha."""
        logs = np.log(np.maximum(self.levels, 1e-300))
        return tuple(float(np.exp(np.interp(np.log(alpha), np.log(self.alphas), column))) for column in logs.T)

    def p_value(self, look: int, p: float) -> float:
        """Return the smallest alpha at which the look is significant (repeated p-value, Jennison and Turnbull 2000).

        The smallest of them over the looks so far is a valid p-value whenever the looks end, and for whatever reason.

        Args:
            look: its index.
            p: of the test at this look alone.

        """
        column = self.levels[:, look]
        reachable = column > 0
        if not reachable.any() or p > column[-1]:
            return 1.0
        logs = np.log(column[reachable])
        return float(np.exp(np.interp(np.log(max(p, 1e-300)), logs, np.log(self.alphas[reachable]))))


@lru_cache(maxsize=32)
def look_boundaries(looks: tuple[int, ...], spending: Spending, *, sides: Literal[1, 2]) -> Boundaries:
    """Compute the boundaries of a t test over seeds that looks at these numbers of seeds.

    Args:
        looks: seeds at each look, ascending, from 2 on.
        spending: see `spent_alpha`.
        sides: 2 for a difference; 1 for one of the two tests of an equivalence.

    """
    from scipy import special

    alphas = np.geomspace(SMALLEST, LARGEST, _ALPHAS)
    mass = np.tile(np.diff(special.ndtr(_EDGES)), (_ALPHAS, 1))
    levels, spent = np.empty((_ALPHAS, len(looks))), np.zeros(_ALPHAS)
    n = looks[0]
    for index, seeds in enumerate(looks):
        for known in range(n, seeds):
            mass = mass @ _transition(known)
        n = seeds
        total = spent_alpha(alphas, seeds / looks[-1], spending, sides=sides)
        levels[:, index], mass = _stop(mass, np.maximum(total - spent, 0.0), sides)
        spent = total
    # Nested in alpha, so that a p-value may be read from them; at the alphas above they are so but for rounding.
    levels = np.minimum.accumulate(levels[::-1], axis=0)[::-1]
    return Boundaries(looks, alphas, levels)


@lru_cache(maxsize=128)
def _transition(n: int) -> Floats:
    """Return the probabilities of going from each bin after n seeds to each bin after n + 1, without a difference."""
    from scipy import special

    middle = (_EDGES[1:] + _EDGES[:-1]) / 2
    u, bounds = _ratio(middle, n)[:, None], _ratio(_EDGES[1:-1], n + 1)[None, :]
    # With y = tan φ: u' = u cos φ + sin φ = √(1 + u²) cos(φ − φ₀), which is above c where φ is within a of φ₀.
    start = np.arctan2(1.0, u)
    within = np.arccos(np.clip(bounds / np.sqrt(1 + u**2), -1, 1))

    def below(angle: Floats) -> Floats:
        inside = np.clip(angle, -np.pi / 2, np.pi / 2)
        return np.asarray(special.stdtr(n, np.sqrt(n) * np.tan(inside)))

    above = below(start + within) - below(start - within)
    wrapped = start + within - 2 * np.pi > -np.pi / 2
    above += np.where(wrapped, below(np.where(wrapped, start + within - 2 * np.pi, -np.pi / 2)), 0.0)
    above = np.hstack([np.ones((len(middle), 1)), above, np.zeros((len(middle), 1))])
    return np.asarray(np.maximum(above[:, :-1] - above[:, 1:], 0.0))


def _ratio(quantile: Floats, n: int) -> Floats:
    """Return u = Σd / √(Σd²) after n seeds from the normal quantile of its nominal p-value."""
    from scipy import special

    t = special.stdtrit(n - 1, special.ndtr(-np.abs(quantile)))  # the lower tail, which is exact far out
    return np.asarray(-np.sign(quantile) * t * np.sqrt(n / (n - 1 + t**2)))


def _stop(mass: Floats, spend: Floats, sides: Literal[1, 2]) -> tuple[Floats, Floats]:
    """Find the nominal level at which a look spends `spend`, and take what stops there out of the mass."""
    from scipy import special

    half = _BINS // 2
    upper = mass[:, half:] + mass[:, :half][:, ::-1] if sides == 2 else mass
    grid = _EDGES[half:] if sides == 2 else _EDGES
    tail = np.hstack([np.cumsum(upper[:, ::-1], axis=1)[:, ::-1], np.zeros((len(mass), 1))])
    levels, kept = np.zeros(len(mass)), mass.copy()
    for row, (wanted, beyond) in enumerate(zip(spend, tail, strict=True)):
        at = int(np.searchsorted(-beyond, -wanted, side="right")) - 1  # beyond[at] ≥ wanted > beyond[at + 1]
        if wanted <= 0 or at >= len(grid) - 2:
            continue
        if at < 0:
            at, fraction = 0, 0.0
        else:  # within a bin the logarithm of a tail is nearly linear
            high, low = np.log(beyond[at]), np.log(max(beyond[at + 1], 1e-300))
            fraction = float((high - np.log(wanted)) / (high - low)) if high > low else 0.0
        levels[row] = sides * special.ndtr(-(grid[at] + fraction * (grid[at + 1] - grid[at])))
        share = np.zeros(len(grid) - 1)
        share[:at] = 1.0
        share[at] = (
            max(0.0, (beyond[at] - wanted) / (beyond[at] - beyond[at + 1])) if beyond[at] > beyond[at + 1] else 0
        )
        kept[row] *= np.concatenate([share[::-1], share]) if sides == 2 else share
    return levels, kept
