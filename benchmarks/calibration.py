"""Simulate how often the tests of a study find a difference that is not there, and how often intervals cover the truth.

    python benchmarks/calibration.py tests               error rates of tests, as in docs/statistics.md
    python benchmarks/calibration.py power               how often they find one that is there
    python benchmarks/calibration.py intervals           coverage of intervals of an accuracy
    python benchmarks/calibration.py tests --studies 500 a quick look

A simulated study trains two methods from n seeds each. The outcome of a training on a test example is right or wrong,
by a latent normal variable: what the method is worth, what the seed gives to this method (in part to both methods
alike), how difficult the example and its cluster are, how well the example and its cluster suit this method in every
seed, and noise of its own.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import special

from mtlab.statistics.example_variance import example_variance
from mtlab.statistics.intervals import mean_interval
from mtlab.statistics.numbers import Floats, quantile_t, sample_sd
from mtlab.statistics.paired import paired_t_examples

ALPHA = 0.05
BLOCK = 4_000_000  #: outcomes that are held at once


@dataclass(frozen=True)
class Scenario:
    """A kind of study."""

    seeds: int
    clusters: int
    size: int  #: examples of a cluster; with `uneven`, of the largest
    spread: float  #: of seeds, on the latent scale; 0.2 moves an accuracy of 75 % by some 5 points
    interaction: float = 0.0  #: standard deviation of how well an example suits a method
    shared: float = 1.0  #: share of its variance that a cluster has in common
    correlation: float = 0.3  #: of the two methods of one seed
    accuracy: float = 0.75
    true: float = 0.0  #: difference of the two methods, on the latent scale
    uneven: bool = False  #: clusters of 1 to `size` examples

    @property
    def cluster_of(self) -> np.ndarray:
        """The cluster of each example."""
        sizes = [1 + number % self.size for number in range(self.clusters)] if self.uneven else [self.size]
        return np.repeat(np.arange(self.clusters), sizes if self.uneven else self.size)


def simulate(scenario: Scenario, studies: int, seed: int = 0) -> Iterator[Floats]:
    """Yield the differences of outcomes of one simulated study after the other, [n, m]."""
    rng, cluster = np.random.default_rng(seed), scenario.cluster_of
    n, examples, clusters = scenario.seeds, len(cluster), scenario.clusters
    block = max(1, BLOCK // (2 * n * examples))

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    def of_examples(count: int, methods: int, share: float) -> np.ndarray:
        common = normal(count, methods, clusters)[..., cluster]
        return np.sqrt(share) * common + np.sqrt(1 - share) * normal(count, methods, examples)

    scale = np.sqrt(2 + scenario.spread**2 + scenario.interaction**2)  # noise and difficulty have variance 1
    worth = special.ndtri(scenario.accuracy) * scale + scenario.true * np.array([0.5, -0.5])
    for start in range(0, studies, block):
        count = min(block, studies - start)
        rho = scenario.correlation
        luck = scenario.spread * (np.sqrt(rho) * normal(count, 1, n) + np.sqrt(1 - rho) * normal(count, 2, n))
        suited = of_examples(count, 1, 0.5) + scenario.interaction * of_examples(count, 2, scenario.shared)
        latent = worth[:, None, None] + luck[..., None] + suited[:, :, None]
        right = normal(count, 2, n, examples) < latent
        yield from right[:, 0].astype(np.float64) - right[:, 1]


def p_values(differences: Floats, cluster: np.ndarray) -> dict[str, float]:
    """Test one study in several ways; `mtlab` is the test of `report.test: paired_t_examples`."""
    n, m = differences.shape
    by_seed = differences.mean(1)
    mean, of_seeds = by_seed.mean(), sample_sd(by_seed) ** 2 / n
    found = example_variance(differences, cluster)
    assert found is not None, "there are clusters"
    independent = float(differences.mean(0).var(ddof=1)) / m
    ours = paired_t_examples(by_seed, found).p
    total, naive = of_seeds + found.variance, of_seeds + independent
    df = total**2 / (of_seeds**2 / (n - 1) + found.variance**2 / found.df) if total else 1.0
    return {
        "paired_t": _p(mean, of_seeds, n - 1),
        "independent examples": _p(mean, naive, n - 1),
        "Satterthwaite": _p(mean, total, df),
        "mtlab": 1.0 if ours is None else ours,
    }


def _p(mean: float, variance: float, df: float) -> float:
    return 2 * float(special.stdtr(df, -abs(mean) / variance**0.5)) if variance else 1.0


def rates(scenario: Scenario, studies: int, seed: int = 0) -> dict[str, float]:
    """Return how often each test finds a difference."""
    found: dict[str, int] = defaultdict(int)
    cluster = scenario.cluster_of
    for differences in simulate(scenario, studies, seed):
        for name, p in p_values(differences, cluster).items():
            found[name] += p <= ALPHA
    return {name: count / studies for name, count in found.items()}


def null_grid(seeds: Sequence[int] = (2, 3, 5, 10, 20)) -> Iterator[Scenario]:
    """Yield studies without a true difference, over spreads, correlations, interactions, and clusters."""
    sizes = ((10, 6, False), (40, 6, False), (300, 1, False), (100, 4, False), (60, 8, True))
    interactions = ((0.0, 0.0), (0.3, 1.0), (1.0, 0.9))
    for n, (clusters, size, uneven), spread, (interaction, shared) in product(
        seeds, sizes, (0.0, 0.05, 0.2, 0.6), interactions
    ):
        correlation = 0.0 if spread == 0.05 else 0.8 if spread == 0.2 else 0.3
        yield Scenario(n, clusters, size, spread, interaction, shared, correlation, uneven=uneven)


DISTRIBUTIONS = ("normal", "beta", "logit-normal")


def draw_accuracies(name: str, mean: float, sd: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Draw accuracies of seeds: normal and cut at 0 and 1, beta, or normal on the logit scale."""
    if name == "normal":
        return np.clip(rng.normal(mean, sd, shape), 0, 1)
    if name == "beta":
        weight = mean * (1 - mean) / sd**2 - 1
        return rng.beta(mean * weight, (1 - mean) * weight, shape)
    drawn: Floats = special.expit(special.logit(mean) + sd / (mean * (1 - mean)) * rng.standard_normal(shape))
    return drawn


def _t_cut(seeds: Floats) -> tuple[float, float]:
    half = quantile_t(1 - ALPHA / 2, len(seeds) - 1) * sample_sd(seeds) / len(seeds) ** 0.5
    return max(0.0, seeds.mean() - half), min(1.0, seeds.mean() + half)


def _t_arcsine(seeds: Floats) -> tuple[float, float]:
    angles = 2 * np.arcsin(np.sqrt(seeds))
    half = quantile_t(1 - ALPHA / 2, len(seeds) - 1) * sample_sd(angles) / len(seeds) ** 0.5
    low, high = (np.sin(np.clip(angles.mean() + sign * half, 0, np.pi) / 2) ** 2 for sign in (-1, 1))
    return float(low), float(high)


def _t_of_logits(seeds: Floats) -> tuple[float, float]:
    logits = special.logit(np.clip(seeds, 2e-4, 1 - 2e-4))
    half = quantile_t(1 - ALPHA / 2, len(seeds) - 1) * sample_sd(logits) / len(seeds) ** 0.5
    return float(special.expit(logits.mean() - half)), float(special.expit(logits.mean() + half))


def _t_logit_scale(seeds: Floats) -> tuple[float, float]:
    mean, half = seeds.mean(), quantile_t(1 - ALPHA / 2, len(seeds) - 1) * sample_sd(seeds) / len(seeds) ** 0.5
    if not half:
        return float(mean), float(mean)
    centre, reach = special.logit(mean), half / (mean * (1 - mean))
    return float(special.expit(centre - reach)), float(special.expit(centre + reach))


def _ours(seeds: Floats) -> tuple[float, float]:
    found = mean_interval(seeds, ALPHA, (0.0, 1.0))
    if found.interval is not None:
        return found.interval
    told = [clump.mean for clump in found.clumps] or [found.mean] * 2  # instead; of equal seeds, their mean alone
    return told[0], told[1]


INTERVALS: dict[str, Callable[[Floats], tuple[float, float]]] = {
    "t, cut": _t_cut,
    "t of arcsines": _t_arcsine,
    "t of logits": _t_of_logits,
    "logit scale": _t_logit_scale,
    "mtlab": _ours,
}


def coverage(
    name: str, mean: float, sd: float, seeds: int, studies: int, methods: Collection[str] = ()
) -> dict[str, float]:
    """Return how often intervals cover the true mean, and under `width of …` how wide they are in the middle.

    `methods` names the intervals; by default all.
    """
    rng = np.random.default_rng(0)
    true = float(draw_accuracies(name, mean, sd, (1_000_000,), rng).mean())
    covered: dict[str, int] = defaultdict(int)
    widths: dict[str, list[float]] = defaultdict(list)
    for accuracies in draw_accuracies(name, mean, sd, (studies, seeds), rng):
        for method in methods or INTERVALS:
            low, high = INTERVALS[method](accuracies)
            covered[method] += low <= true <= high
            widths[method].append(high - low)
    shares = {method: count / studies for method, count in covered.items()}
    return shares | {f"width of {method}": float(np.median(each)) for method, each in widths.items()}


def _print_line(label: str, values: dict[str, float]) -> None:
    print(f"| {label} | " + " | ".join(f"{100 * value:.1f}" for value in values.values()) + " |", flush=True)


def _print_head(label: str, names: Sequence[str]) -> None:
    print(f"\n| {label} | " + " | ".join(names) + " |\n| :-- |" + " --: |" * len(names))


def _print_tests(studies: int) -> None:
    by_seeds: dict[int, list[dict[str, float]]] = defaultdict(list)
    for number, scenario in enumerate(null_grid()):
        by_seeds[scenario.seeds].append(rates(scenario, studies, number))
    names = list(next(iter(by_seeds.values()))[0])
    print(f"True nulls that are rejected at 5 %, in % of {studies} studies of each of {len(by_seeds[2])} kinds.")
    for what, summary in (("largest of all kinds", max), ("mean over kinds", np.mean)):
        _print_head(f"seeds, {what}", names)
        for n, found in by_seeds.items():
            _print_line(str(n), {name: float(summary([each[name] for each in found])) for name in names})


def _print_power(studies: int) -> None:
    kinds = {
        "small spread of seeds": Scenario(0, 300, 4, 0.05, 0.3, 0.9, true=0.25),
        "middling": Scenario(0, 300, 4, 0.15, 0.3, 0.9, true=0.35),
        "large": Scenario(0, 300, 4, 0.4, 0.3, 0.9, true=0.8),
    }
    for kind, scenario in kinds.items():
        for place, n in enumerate((2, 3, 5, 10)):
            found = rates(Scenario(**{**scenario.__dict__, "seeds": n}), studies, n)
            if not place:
                _print_head(f"{kind}: seeds", list(found))
            _print_line(str(n), found)


def _print_intervals(studies: int) -> None:
    print(f"Coverage of 95 % intervals, in % of {studies} draws of n seeds; in brackets the median width in points.")
    for mean, sd in ((0.5, 0.05), (0.9, 0.03), (0.9, 0.09), (0.97, 0.02), (0.99, 0.01), (0.99, 0.02)):
        _print_head(f"accuracy {100 * mean:g} ± {100 * sd:g}: distribution, seeds", list(INTERVALS))
        for name, n in product(DISTRIBUTIONS, (2, 3, 5, 20)):
            found = coverage(name, mean, sd, n, studies)
            cells = (f"{100 * found[each]:.1f} ({100 * found[f'width of {each}']:.1f})" for each in INTERVALS)
            print(f"| {name}, {n} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tests", "power", "intervals"), nargs="?")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="100 studies of each kind")
    given = parser.parse_args()
    studies = 100 if given.quick else given.studies
    tables = {"tests": _print_tests, "power": _print_power, "intervals": _print_intervals}
    for name, show in tables.items():
        if given.what in (None, name):
            show(studies)


if __name__ == "__main__":
    main()
