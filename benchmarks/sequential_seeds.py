"""Simulate studies with as many seeds as the question needs: errors, power, and seeds saved against a fixed number.

    python benchmarks/sequential_seeds.py              the tables of docs/seeds.md
    python benchmarks/sequential_seeds.py --studies 200

Each simulated study trains a baseline and its variants on 4 to 20 seeds, and is tested and decided by the rules that
decide real studies (`decide`); many at once (`decide_all`), which a test compares with them. What one seed gives a
variant is its true score, what the seed gives to all, and noise of its own. All scores of a variant also hold one error
of the sample of test examples, which no seed averages away, and of which the test knows the variance.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import calibration
import numpy as np
import numpy.typing as npt
from scipy import special

from mtlab.statistics.example_variance import ExampleVariance, example_variance
from mtlab.statistics.paired import Difference, paired_t_examples
from mtlab.statistics.sequential import Boundaries
from mtlab.statistics.spending import Spending
from mtlab.statistics.stopping import EndedBy, Evidence, StoppingRule

Floats = npt.NDArray[np.float64]
Noise = Literal["normal", "heavy tails", "skewed"]

EXAMPLES = 1000  #: test examples
LOOKS = tuple(range(4, 21))
SPENDINGS: tuple[Spending, ...] = ("obrien_fleming", "pocock")
ENDS: tuple[EndedBy, ...] = ("difference", "equivalence", "max")
DIFFERENCE, EQUIVALENCE, LAST = range(3)  #: in `ENDS`


@dataclass(frozen=True)
class Scenario:
    """A kind of study. The unit is the standard deviation of a paired difference between seeds."""

    differences: tuple[float, ...] = (0.0,)  #: true, of each variant to the baseline
    margin: float = 0.25
    shared: float = 0.5  #: correlation between the differences of two variants, by the baseline that they share
    examples: float = 0.0  #: standard error of a difference by the sample of examples alone
    noise: Noise = "normal"
    spending: Spending = "obrien_fleming"
    looks: tuple[int, ...] = LOOKS

    @property
    def rule(self) -> StoppingRule:
        """When a comparison ends."""
        return StoppingRule(self.looks, self.margin, spending=self.spending)


@dataclass(frozen=True)
class Rates:
    """What happened in the simulated studies, as shares of them where nothing else is said."""

    false_difference: float  #: a difference was shown where there is none, of any of the variants
    false_equivalence: float  #: an equivalence was shown of a difference that is not within the margin, of any
    shown: float  #: of comparisons: a difference was shown
    equivalent: float  #: of comparisons: an equivalence was shown
    seeds: float  #: mean number of seeds of a variant
    covered: float  #: of comparisons: the ordinary 95 % interval at the end holds the true difference
    exaggeration: float  #: mean of found ÷ true difference where one was shown; NaN without a true one


def simulate(scenario: Scenario, studies: int, *, seed: int = 0) -> Rates:
    """Simulate studies of a kind, all at once."""
    truth = np.array(scenario.differences)
    found = decide_all(scenario.rule, draw(scenario, studies, seed), np.full((1, 1, 1), scenario.examples**2))
    return _rates(found, truth, scenario.margin)


def _rates(found: Decided, truth: Floats, margin: float) -> Rates:
    different, equivalent = found.ended == DIFFERENCE, found.ended == EQUIVALENCE
    ratios = (found.difference / np.where(truth == 0, np.nan, truth))[different]
    return Rates(
        float((different & (truth == 0)).any(1).mean()),
        float((equivalent & (abs(truth) >= margin)).any(1).mean()),
        float(different.mean()),
        float(equivalent.mean()),
        float(found.n.mean()),
        float((abs(found.difference - truth) <= found.half_width).mean()),
        float(np.nanmean(ratios)) if np.isfinite(ratios).any() else float("nan"),
    )


def draw(scenario: Scenario, studies: int, seed: int) -> Floats:
    """Draw the paired differences of studies, [studies, most seeds, comparisons]."""
    generator = np.random.default_rng(seed)
    paired = _correlated(generator, scenario, (studies, scenario.looks[-1]), scenario.noise)
    paired += scenario.examples * _correlated(generator, scenario, (studies, 1), "normal")
    return np.asarray(paired + np.array(scenario.differences))


def sample_of(examples: float) -> ExampleVariance | None:
    """Return what the sample of examples adds to the variance of a difference."""
    return ExampleVariance(EXAMPLES, EXAMPLES, examples**2, EXAMPLES - 1.0, 1.0) if examples else None


def decide(rule: StoppingRule, paired: Floats, examples: float) -> list[tuple[EndedBy, Difference]]:
    """Look at a study until all of its comparisons have ended, by the code of the product: why each did, and its test.

    Args:
        rule: when a comparison ends.
        paired: [most seeds, comparisons], differences to the baseline.
        examples: standard error of a difference by the sample of examples alone.

    """
    evidence = [Evidence()] * paired.shape[1]
    ended: dict[int, tuple[EndedBy, Difference]] = {}
    for look, n in enumerate(rule.looks):
        still = [at for at in range(len(evidence)) if at not in ended]
        tested = {at: paired_t_examples(paired[:n, at], sample_of(examples)) for at in still}
        for at, found in tested.items():
            evidence[at] = rule.update(evidence[at], look, found)
        corrected = rule.corrected(evidence)
        for at, found in tested.items():
            why = rule.ended_by(look, corrected[at])
            if why is not None:
                ended[at] = (why, found)
    return [ended[at] for at in range(len(evidence))]


@dataclass(frozen=True)
class Decided:
    """How the comparisons of studies ended; each array is [studies, comparisons]."""

    ended: npt.NDArray[np.int64]  #: an index in `ENDS`
    n: npt.NDArray[np.int64]  #: seeds
    difference: Floats
    half_width: Floats  #: of the ordinary 95 % interval


def decide_all(rule: StoppingRule, paired: Floats, examples: Floats, df: float = EXAMPLES - 1.0) -> Decided:
    """Decide many studies as `decide` decides one, which a test compares.

    Args:
        rule: when a comparison ends.
        paired: differences to the baseline, [studies, most seeds, comparisons].
        examples: variance of a difference by the sample of examples, [studies, looks, comparisons] or sizes of 1.
        df: degrees of freedom of that variance.

    """
    studies, _, comparisons = paired.shape
    sums, squares = np.cumsum(paired, axis=1), np.cumsum(paired**2, axis=1)
    evidence = np.ones((2, studies, comparisons))
    ended = np.full((studies, comparisons), -1)
    numbers, differences, widths = np.zeros_like(ended), np.zeros(ended.shape), np.zeros(ended.shape)
    for look, n in enumerate(rule.looks):
        still = ended < 0
        mean = (sums[:, n - 1] / n)[still]
        seeds = (squares[:, n - 1][still] - n * mean**2) / (n - 1) / n
        sample = np.broadcast_to(examples[:, min(look, examples.shape[1] - 1)], ended.shape)[still]
        nearer = np.where(mean >= 0, rule.margin, -rule.margin)
        levels = [boundaries.at(rule.alpha)[look] for boundaries in (rule.difference, rule.equivalence)]
        both_sides = _p_values(mean - nearer, seeds, n, sample, df, 2 * levels[1])
        within = np.where(abs(mean) < rule.margin, both_sides / 2, 1 - both_sides / 2)
        nominal = (_p_values(mean, seeds, n, sample, df, levels[0]), within)
        for row, (boundaries, p) in enumerate(zip((rule.difference, rule.equivalence), nominal, strict=True)):
            evidence[row][still] = np.minimum(evidence[row][still], _count_looks(boundaries, look, p))
        different, equivalent = (_holm(each) <= rule.alpha for each in evidence)
        last = np.full(ended.shape, look == len(rule.looks) - 1)
        ended[still] = np.select([different, equivalent, last], [DIFFERENCE, EQUIVALENCE, LAST], -1)[still]
        ends = (ended >= 0)[still]
        quantiles = [special.stdtrit(each, 0.975) for each in (n - 1, df)]
        half = np.sqrt(quantiles[0] ** 2 * seeds + quantiles[1] ** 2 * sample)
        at = np.argwhere(still)[ends].T
        numbers[at[0], at[1]], differences[at[0], at[1]], widths[at[0], at[1]] = n, mean[ends], half[ends]
    return Decided(ended, numbers, differences, widths)


def _p_values(distance: Floats, seeds: Floats, n: int, examples: Floats, df: float, below: float) -> Floats:
    """Return two-sided p-values as `ErrorParts.p_value` does; above `below`, which decides nothing, a lower bound."""
    distance = np.maximum(abs(distance), 1e-12)  # the logarithm of 0 is none
    t = distance / np.sqrt(seeds + examples)
    ends = [2 * special.stdtr(each, -t) for each in (n - 1, df)]
    if not examples.any():
        return np.asarray(ends[0])
    p = np.minimum(*ends)
    low = p <= below
    if low.any():
        bounds = p[low], np.maximum(*ends)[low]
        p[low] = _exact_p_values(distance[low], seeds[low], n, np.broadcast_to(examples, p.shape)[low], df, bounds)
    return p


def _exact_p_values(
    distance: Floats, seeds: Floats, n: int, examples: Floats, df: float, ends: tuple[Floats, Floats]
) -> Floats:
    """Find p-values between two bounds by the regula falsi on the logarithm of p."""

    def gap(log_p: Floats) -> Floats:
        half = [special.stdtrit(each, np.exp(log_p) / 2) for each in (n - 1, df)]
        return np.log(np.maximum(half[0] ** 2 * seeds + half[1] ** 2 * examples, 1e-300)) / 2 - np.log(distance)

    low, high = (np.log(np.maximum(end, 1e-300)) for end in ends)
    at_low, at_high = gap(low), gap(high)
    middle = low
    for _ in range(40):
        middle = np.clip(low - at_low * (high - low) / np.where(at_high == at_low, 1.0, at_high - at_low), low, high)
        value = gap(middle)
        if (abs(value) < 1e-8).all():
            break
        right = value > 0  # p is larger than `middle`
        # Illinois: an end that stays counts half, so that both ends move.
        low, at_low, at_high = (
            np.where(right, middle, low),
            np.where(right, value, at_low / 2),
            np.where(right, at_high / 2, value),
        )
        high = np.where(right, high, middle)
    return np.asarray(np.exp(middle))


def _count_looks(boundaries: Boundaries, look: int, p: Floats) -> Floats:
    """Return `Boundaries.p_value` of many p-values."""
    column = boundaries.levels[:, look]
    reachable = column > 0
    if not reachable.any():
        return np.ones_like(p)
    logs = np.log(column[reachable])
    found = np.exp(np.interp(np.log(np.maximum(p, 1e-300)), logs, np.log(boundaries.alphas[reachable])))
    return np.where(p > column[-1], 1.0, found)


def _holm(p: Floats) -> Floats:
    """Correct p-values within each study, [studies, comparisons]."""
    order = np.argsort(p, axis=1, kind="stable")
    counts = np.arange(p.shape[1], 0, -1)
    stepped = np.maximum.accumulate(np.minimum(1.0, counts * np.take_along_axis(p, order, 1)), axis=1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, stepped, 1)
    return corrected


def _correlated(generator: np.random.Generator, scenario: Scenario, shape: tuple[int, ...], noise: Noise) -> Floats:
    """Draw noise of variance 1, [..., comparisons], that comparisons share in part."""
    size = (*shape, len(scenario.differences) + 1)
    if noise == "heavy tails":
        drawn = generator.standard_t(3, size) / 3**0.5
    elif noise == "skewed":
        drawn = generator.exponential(1.0, size) - 1
    else:
        drawn = generator.standard_normal(size)
    return np.asarray(scenario.shared**0.5 * drawn[..., :1] + (1 - scenario.shared) ** 0.5 * drawn[..., 1:])


def error_scenarios() -> list[tuple[str, Scenario]]:
    """Return the kinds of studies without any true difference, over a grid."""
    grid = []
    for variants in (1, 3, 7):
        for examples in (0.0, 0.2, 0.5, 2.0):
            for shared in (0.0, 0.5, 0.95) if variants == 3 else (0.5,):
                name = f"{variants} | {examples:g} | {'–' if variants == 1 else f'{shared:g}'} | normal"
                grid.append((name, Scenario((0.0,) * variants, shared=shared, examples=examples)))
    for noise in ("heavy tails", "skewed"):
        for variants in (1, 3):
            named: Noise = "heavy tails" if noise == "heavy tails" else "skewed"
            grid.append((f"{variants} | 0 | 0.5 | {noise}", Scenario((0.0,) * variants, noise=named)))
    return grid


def edge_scenarios() -> list[tuple[str, Scenario]]:
    """Return the kinds of studies whose true differences are as large as the margin, to either side."""
    grid = []
    for variants in (1, 3):
        for margin in (0.5, 1.0, 2.0):
            for examples in (0.0, 0.2, 0.5):
                signs = tuple(margin * (-1) ** index for index in range(variants))
                name = f"{variants} | {margin:g} | {examples:g}"
                grid.append((name, Scenario(signs, margin=margin, examples=examples)))
    return grid


def power_scenarios() -> list[tuple[str, Scenario]]:
    """Return the kinds of studies with one true difference, and those without one and a generous margin."""
    grid = [
        (f"{true:g} | 0.25 | {examples:g}", Scenario((true,), examples=examples))
        for examples in (0.0, 0.3)
        for true in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
    ]
    return [*grid, *((f"0 | {margin:g} | 0", Scenario((0.0,), margin=margin)) for margin in (0.5, 0.75, 1.0, 2.0, 4.0))]


@dataclass(frozen=True)
class Answers:
    """A kind of study of one variant, down to right and wrong answers: the variance over examples is estimated."""

    kind: calibration.Scenario
    spending: Spending = "obrien_fleming"
    looks: tuple[int, ...] = LOOKS

    @property
    def true(self) -> float:
        """The true difference in accuracy."""
        scale = (2 + self.kind.spread**2 + self.kind.interaction**2) ** 0.5
        worth = special.ndtri(self.kind.accuracy) * scale
        high, low = (special.ndtr((worth + sign * self.kind.true / 2) / scale) for sign in (1, -1))
        return float(high - low)

    def simulate(self, studies: int, *, seed: int = 0) -> Rates:
        """Simulate studies of the kind; the margin is the true difference, or one that is never reached."""
        margin = self.true or 1e-6
        rule, cluster = StoppingRule(self.looks, margin, spending=self.spending), self.kind.cluster_of
        paired, variances, df = [], [], 1.0
        for answers in calibration.simulate(self.kind, studies, seed):
            paired.append(answers.mean(1))
            found = [example_variance(answers[:n], cluster) for n in self.looks]
            variances.append([0.0 if each is None else each.variance for each in found])
            df = df if found[0] is None else found[0].df
        whole = np.array(paired)[:, :, None], np.array(variances)[:, :, None]
        return _rates(decide_all(rule, *whole, df), np.array([self.true]), margin)


def answer_scenarios() -> list[tuple[str, calibration.Scenario]]:
    """Return kinds of studies down to single answers: clusters, spreads of seeds, and how examples suit a method."""
    grid = []
    for clusters, size in ((40, 6), (300, 1)):
        for spread in (0.05, 0.2):
            for interaction in (0.0, 0.3, 1.0):
                name = f"{clusters} × {size} | {spread:g} | {interaction:g}"
                grid.append((name, calibration.Scenario(LOOKS[-1], clusters, size, spread, interaction)))
    return grid


def fixed(scenario: Scenario, n: int) -> Scenario:
    """Return the same kind of study with a fixed number of seeds, tested once."""
    return replace(scenario, looks=(n,))


def _all_three(kind: Scenario, studies: int, seed: int) -> tuple[Rates, Rates, Rates]:
    """Simulate a kind of study with either spending, and with a fixed number of seeds, on the same draws."""
    kinds = (kind, replace(kind, spending="pocock"), fixed(kind, kind.looks[-1]))
    first, second, third = (simulate(each, studies, seed=seed) for each in kinds)
    return first, second, third


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies in each row")
    studies = parser.parse_args(given).studies
    print(f"{studies} studies in each row.\n\n**A difference is shown where there is none** (% of studies)\n")
    print("| variants | error of examples | correlation | seeds are | O'Brien-Fleming | Pocock | fixed n = 20 |")
    print("|--:|--:|--:|:--|--:|--:|--:|")
    for seed, (name, kind) in enumerate(error_scenarios(), 100):
        rates = _all_three(kind, studies, seed)
        print(f"| {name} | {' | '.join(_percent(each.false_difference) for each in rates)} |", flush=True)
    print("\n**An equivalence is shown of a difference as large as the margin** (% of studies)\n")
    print("| variants | margin | error of examples | O'Brien-Fleming | Pocock | fixed n = 20 |")
    print("|--:|--:|--:|--:|--:|--:|")
    for seed, (name, kind) in enumerate(edge_scenarios(), 200):
        rates = _all_three(kind, studies, seed)
        print(f"| {name} | {' | '.join(_percent(each.false_equivalence) for each in rates)} |", flush=True)
    print("\n**Power and seeds saved**: until decided (4 to 20 seeds), against a fixed n = 20\n")
    print(
        "| true | margin | error of examples | difference shown, % | equivalence, % | seeds | saved, % |"
        " interval holds the truth, % | found ÷ true | Pocock: shown, % | seeds | fixed: shown, % | equivalence, % |"
    )
    print("|" + "--:|" * 13)
    for seed, (name, kind) in enumerate(power_scenarios(), 300):
        ours, pocock, whole = _all_three(kind, studies, seed)
        ratio = "–" if np.isnan(ours.exaggeration) else f"{ours.exaggeration:.2f}"
        cells = (
            *map(_percent, (ours.shown, ours.equivalent)),
            f"{ours.seeds:.1f}",
            f"{100 - 5 * ours.seeds:.0f}",
            _percent(ours.covered),
            ratio,
            _percent(pocock.shown),
            f"{pocock.seeds:.1f}",
            *map(_percent, (whole.shown, whole.equivalent)),
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print_answers(studies)


def print_answers(studies: int) -> None:
    """Print the table of studies down to right and wrong answers."""
    print("\n**Down to right and wrong answers**, one variant, with the variance over examples estimated (% wrong)\n")
    print("| clusters × size | spread | interaction | difference | Pocock | equivalence | Pocock |")
    print("|:--|--:|--:|--:|--:|--:|--:|")
    for seed, (name, kind) in enumerate(answer_scenarios(), 400):
        null = [Answers(kind, spending).simulate(studies, seed=seed) for spending in SPENDINGS]
        edge = [Answers(replace(kind, true=0.25), spending).simulate(studies, seed=seed) for spending in SPENDINGS]
        cells = [each.false_difference for each in null] + [each.false_equivalence for each in edge]
        print(f"| {name} | {' | '.join(map(_percent, cells))} |", flush=True)


if __name__ == "__main__":
    main()
