"""Corrections, power and the bootstrap: against scipy and statsmodels, at the edges, and against simulated nulls."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from mtlab.errors import UserError
from mtlab.statistics.bootstrap import bootstrap
from mtlab.statistics.correction import holm
from mtlab.statistics.intervals import mean_interval
from mtlab.statistics.paired import paired_t_examples
from mtlab.statistics.power import smallest_detectable
from mtlab.statistics.seed_tests import lookup_test


def paired_t(differences):
    return paired_t_examples(differences, None)


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


def test_bootstrap_of_nearly_equal_differences_has_no_interval():
    found = bootstrap([0.0] * 9 + [-0.1])
    assert found.interval is None
    assert found.p > 0.05
    assert "no interval" in found.note


@pytest.mark.parametrize("unit", [0.01, 0.001, 1 / 128])
def test_bootstrap_gives_the_same_p_in_every_unit(unit):
    """Resamples of one value repeated have no spread, though rounding gives them some."""
    found, points = (bootstrap(np.array([2.0] * 8 + [1, 3]) * each) for each in (unit, 1.0))
    assert found.p == points.p
    assert found.interval is points.interval is None


def test_bootstrap_agrees_with_t_on_many_normal_seeds():
    differences = np.random.default_rng(3).normal(0.3, 1, 40)
    by_t, by_bootstrap = paired_t(differences), bootstrap(differences)
    assert by_bootstrap.p == pytest.approx(by_t.p, abs=0.02)
    assert by_bootstrap.interval == pytest.approx(by_t.interval, abs=0.05)


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


def test_statistics_import_neither_pandas_nor_torch():
    """A report must not wait for pandas, nor for torch."""
    code = (
        "import sys; from mtlab.statistics.seed_tests import *; from mtlab.statistics.power import *;"
        "paired_t_examples([1, 2, 4], None); smallest_detectable(1, 5);"
        "print(sorted({'torch', 'pandas', 'statsmodels', 'scipy.stats'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


def test_a_level_that_two_seeds_never_reach_ends_without_an_answer() -> None:
    assert smallest_detectable(1.0, 2, alpha=1e-6) is None
    assert smallest_detectable(1.0, 3, alpha=1e-6) is not None
