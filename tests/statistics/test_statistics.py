"""Intervals and tests: against scipy and statsmodels, at the edges, and against simulated nulls."""

import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from mtlab.errors import UserError
from mtlab.statistics.bootstrap import bootstrap
from mtlab.statistics.correction import holm
from mtlab.statistics.intervals import mean_interval
from mtlab.statistics.paired import paired_t_examples
from mtlab.statistics.power import smallest_detectable
from mtlab.statistics.seed_tests import lookup_test

SEEDS = np.array([0.71, 0.74, 0.69, 0.80, 0.73])
DIFFERENCES = np.array([0.03, 0.05, -0.01, 0.04, 0.06])


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_mean_interval_is_the_t_interval(alpha):
    found = mean_interval(SEEDS, alpha)
    assert found.mean == pytest.approx(SEEDS.mean())
    assert found.interval == pytest.approx(
        stats.t.interval(1 - alpha, 4, loc=SEEDS.mean(), scale=stats.sem(SEEDS)), rel=1e-9
    )


def paired_t(differences):
    return paired_t_examples(differences, None)


def test_paired_t_is_scipys():
    found = paired_t(DIFFERENCES)
    reference = stats.ttest_1samp(DIFFERENCES, 0.0)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-9)


def test_variance_over_examples_is_added():
    examples = np.random.default_rng(0).normal(0.034, 0.5, 400)
    found = paired_t_examples(DIFFERENCES, examples)
    error = (DIFFERENCES.var(ddof=1) / 5 + examples.var(ddof=1) / 400) ** 0.5
    assert found.error == pytest.approx(error)
    assert found.p == pytest.approx(2 * stats.t.sf(DIFFERENCES.mean() / error, 4))


def test_one_seed_has_no_interval_and_says_so():
    assert mean_interval([0.7]).interval is None
    assert mean_interval([0.7]).note == "one seed: no interval"
    found = paired_t_examples([0.02], np.zeros(100))
    assert (found.difference, found.interval, found.p, found.note) == (0.02, None, None, "one seed: no test")


def test_identical_results_differ_by_nothing():
    found = paired_t_examples(np.zeros(4), np.zeros(50))
    assert (found.difference, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_constant_difference_is_not_called_certain():
    """A t test would give p = 0 for two seeds that happen to agree."""
    found = paired_t(np.array([0.81, 0.83, 0.79]) - np.array([0.79, 0.81, 0.77]))  # 0.02 but for rounding
    assert found.interval is None
    assert found.p == 0.25
    assert "every seed" in found.note
    with_examples = paired_t_examples([0.02, 0.02, 0.02], [0, 0, 1, 0, 0, 0, 0, -1, 1])
    assert with_examples.p is not None
    assert with_examples.interval is not None


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [float("inf"), 0.2]])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match="finite"):
        mean_interval(values)
    with pytest.raises(ValueError, match="finite"):
        paired_t(values)


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_statsmodels(seed):
    pvalues = np.random.default_rng(seed).uniform(0, 0.2, 7).round(2).tolist()  # rounded: has ties
    assert holm(pvalues) == pytest.approx(multipletests(pvalues, method="holm")[1].tolist())
    assert holm([]) == []


def test_mcnemar_compares_checkpoints_and_is_no_test_of_methods():
    with pytest.raises(UserError, match="two trained checkpoints"):
        lookup_test("mcnemar")


def test_unknown_test_offers_the_nearest():
    with pytest.raises(UserError, match=r"report\.test: unknown test 'paired_t_example'; did you mean"):
        lookup_test("paired_t_example")


@pytest.mark.parametrize("alpha", [0.05, 0.0125])
@pytest.mark.parametrize("n", [3, 5, 20])
def test_smallest_detectable_has_the_power_that_statsmodels_computes(n, alpha):
    """Asked the other way round, as statsmodels' own solver is caught by a NaN at 3 seeds and alpha 0.0125."""
    effect = smallest_detectable(2.5, n, alpha) / 2.5
    assert TTestPower().power(effect, n, alpha) == pytest.approx(0.8, abs=1e-5)


def test_smallest_detectable_has_its_power():
    """Simulated: a true difference of that size is found in 80 % of studies."""
    n, sd = 5, 0.02
    true = smallest_detectable(sd, n)
    draws = np.random.default_rng(0).normal(true, sd, (4000, n))
    assert np.mean([paired_t(row).p <= 0.05 for row in draws]) == pytest.approx(0.8, abs=0.025)


def test_smallest_detectable_shrinks_with_seeds_and_is_unknown_for_one():
    by_seeds = [smallest_detectable(1.0, n) for n in (2, 3, 5, 10, 30)]
    assert all(more < fewer for fewer, more in pairwise(by_seeds))
    assert smallest_detectable(1.0, 1) is None
    assert smallest_detectable(0.0, 5) is None


def test_bootstrap_needs_ten_seeds():
    with pytest.raises(UserError, match="at least 10 seeds, not 9"):
        bootstrap(np.arange(9.0))
    assert bootstrap(np.arange(10.0)) == bootstrap(np.arange(10.0))


def test_bootstrap_agrees_with_t_on_many_normal_seeds():
    differences = np.random.default_rng(3).normal(0.3, 1, 40)
    by_t, by_bootstrap = paired_t(differences), bootstrap(differences)
    assert by_bootstrap.p == pytest.approx(by_t.p, abs=0.02)
    assert by_bootstrap.interval == pytest.approx(by_t.interval, abs=0.05)


def false_positives(test, *, true=0.0, replications=4000, seeds=5, examples=2000, spread=0.08, rng_seed=0):
    """Share of simulated studies in which the test finds a difference.

    Each study trains two methods from `seeds` seeds; a training's accuracy is 70 % ± `spread` between seeds, and its
    outcome on each example is a coin of that accuracy, examples being of unequal difficulty. `true` is the difference.
    """
    rng = np.random.default_rng(rng_seed)
    found = 0
    for _ in range(replications):
        accuracy = 0.7 + spread * rng.standard_normal((2, seeds)) + np.array([[true], [0.0]])
        difficulty = 0.1 * rng.standard_normal(examples, dtype=np.float32)
        chance = accuracy[..., None].astype(np.float32) + difficulty
        right = (rng.random((2, seeds, examples), dtype=np.float32) < chance).astype(np.float32)
        found += test(right[0], right[1]) <= 0.05
    return found / replications


def default_test(variant, baseline):
    outcome = paired_t_examples(variant.mean(1) - baseline.mean(1), (variant - baseline).mean(0))
    return outcome.p


def pooled(variant, baseline):
    gained, lost = ((variant > baseline).sum(), (variant < baseline).sum())
    return mcnemar([[0, gained], [lost, 0]], exact=True).pvalue


def test_default_test_keeps_its_error_rate():
    """Null, 5 seeds × 2,000 examples, seed SD 8 points; 20,000 replications give a standard error of 0.15 %."""
    rate = false_positives(default_test, replications=20_000)
    assert rate <= 0.06
    assert rate >= 0.02  # not so cautious that it finds nothing


def test_the_simulation_would_notice_a_wrong_test():
    """What is so often done, pooling examples over seeds, calls most true nulls significant."""
    assert false_positives(pooled, replications=200) > 0.6


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_default_test_keeps_its_error_rate_at_other_spreads(spread):
    assert false_positives(default_test, replications=1500, spread=spread) <= 0.06


def test_default_test_finds_what_is_there():
    """20 points at a seed SD of 8 (of differences: 11.3): 84 % power without the variance over examples."""
    power = TTestPower().solve_power(effect_size=0.2 / (0.08 * 2**0.5), nobs=5, alpha=0.05)
    assert false_positives(default_test, true=0.2, replications=600) == pytest.approx(power, abs=0.06)


def test_holm_keeps_the_error_rate_of_a_whole_table():
    """Four true nulls against one baseline: at most 6 % of tables hold a false claim; uncorrected, far more."""
    rng = np.random.default_rng(0)
    any_corrected = any_raw = 0
    for _ in range(3000):
        results = rng.normal(0.7, 0.08, (5, 5))
        pvalues = [paired_t(row - results[0]).p for row in results[1:]]
        any_corrected += min(holm(pvalues)) <= 0.05
        any_raw += min(pvalues) <= 0.05
    assert any_corrected / 3000 <= 0.06
    assert any_raw / 3000 > 0.1


def test_bootstrap_keeps_its_error_rate():
    draws = np.random.default_rng(0).normal(0, 0.08, (3000, 10))
    assert np.mean([bootstrap(row, resamples=500).p <= 0.05 for row in draws]) <= 0.06


def test_statistics_start_quickly():
    """A report must not wait for pandas, nor for torch."""
    code = (
        "import sys; from mtlab.statistics.seed_tests import *; from mtlab.statistics.power import *;"
        "paired_t_examples([1, 2, 4], None); smallest_detectable(1, 5);"
        "print(sorted({'torch', 'pandas', 'statsmodels', 'scipy.stats'} & set(sys.modules)))"
    )
    began = time.monotonic()
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"
    assert time.monotonic() - began < 5


def test_a_level_that_two_seeds_never_reach_ends_without_an_answer() -> None:
    assert smallest_detectable(1.0, 2, alpha=1e-6) is None
    assert smallest_detectable(1.0, 3, alpha=1e-6) is not None
