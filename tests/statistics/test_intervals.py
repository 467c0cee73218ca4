"""Intervals of means over seeds: t, within the bounds of a metric, and none for two clumps."""

import numpy as np
import pytest
from calibration import coverage, draw_accuracies
from scipy import stats

from mtlab.statistics.intervals import Clump, clip, mean_interval, split_seeds

SEEDS = np.array([0.71, 0.74, 0.69, 0.80, 0.73])
SHARE = (0.0, 1.0)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_metric_without_bounds_has_the_t_interval(alpha):
    found = mean_interval(SEEDS, alpha)
    assert found.mean == pytest.approx(SEEDS.mean())
    expected = stats.t.interval(1 - alpha, 4, loc=SEEDS.mean(), scale=stats.sem(SEEDS))
    assert found.interval == pytest.approx(expected, rel=1e-9)


def test_an_interval_between_bounds_is_the_t_interval_on_the_arcsine_scale():
    half = stats.t.ppf(0.975, 4) * stats.sem(SEEDS) / (SEEDS.mean() * (1 - SEEDS.mean())) ** 0.5
    expected = [np.sin(np.arcsin(SEEDS.mean() ** 0.5) + sign * half / 2) ** 2 for sign in (-1, 1)]
    assert mean_interval(SEEDS, bounds=SHARE).interval == pytest.approx(expected)
    doubled = mean_interval(2 * SEEDS - 1, bounds=(-1.0, 1.0))
    assert doubled.interval == pytest.approx([2 * end - 1 for end in expected])


def test_far_from_bounds_it_is_the_t_interval():
    seeds = np.array([0.702, 0.700, 0.704])
    assert mean_interval(seeds, bounds=SHARE).interval == pytest.approx(mean_interval(seeds).interval, abs=1e-4)


@pytest.mark.parametrize("seeds", [[0.44, 0.75], [0.999, 1.0], [0.0, 0.01, 0.0], [0.9, 0.96, 0.999]])
def test_no_interval_leaves_the_bounds(seeds):
    """The first is what was once published as 59.5 ± 197.2."""
    found = mean_interval(seeds, bounds=SHARE)
    low, high = found.interval
    assert 0 <= low < found.mean < high <= 1
    assert max(high - found.mean, found.mean - low) >= min(0.1, (mean_interval(seeds).interval[1] - found.mean) / 4)


def test_near_a_bound_the_longer_arm_points_to_the_middle():
    found = mean_interval([0.97, 0.98, 0.99], bounds=SHARE)
    assert found.mean - found.interval[0] > 1.5 * (found.interval[1] - found.mean)


def test_two_seeds_at_the_bound_are_no_reason_for_an_interval_of_everything():
    """Two such seeds would have an interval of 1 to 100 on the logit scale."""
    low, high = mean_interval([0.998, 1.0], bounds=SHARE).interval
    assert 0.9 < low < 0.97
    assert high == 1


def test_one_seed_and_equal_seeds_say_so():
    assert mean_interval([0.7]).interval is None
    assert mean_interval([0.7]).interval is None
    same = mean_interval([1.0, 1.0, 1.0], bounds=SHARE)
    assert (same.interval, same.sd) == (None, 0.0)


def test_values_outside_bounds_are_refused():
    with pytest.raises(ValueError, match="outside 0 and 1"):
        mean_interval([0.5, 59.5], bounds=SHARE)


def test_the_rounding_of_a_mean_leaves_a_perfect_score_within_bounds():
    found = mean_interval([1.0000000000000002, 0.97, 1.0], bounds=SHARE)
    assert found == mean_interval([1.0, 0.97, 1.0], bounds=SHARE)
    assert found.interval[1] <= 1


def test_two_clumps_are_told_and_have_no_interval():
    found = mean_interval([0.976, 0.41, 0.975, 0.39, 0.979], bounds=SHARE)
    assert found.interval is None
    assert found.clumps == (Clump(2, pytest.approx(0.40)), Clump(3, pytest.approx(0.9767, abs=1e-4)))
    assert found.interval is None
    assert mean_interval([0.976, 0.41, 0.975, 0.39, 0.979]).clumps == ()  # a loss may have any scale


def test_a_small_gap_and_few_seeds_make_no_clumps():
    assert mean_interval([0.70, 0.701, 0.76, 0.761], bounds=SHARE).clumps == ()
    assert mean_interval([0.4, 0.9, 0.91], bounds=SHARE).clumps == ()


def test_normal_seeds_rarely_look_like_clumps():
    rng = np.random.default_rng(0)
    for seeds, most in ((5, 0.035), (10, 0.002)):
        draws = np.clip(rng.normal(0.5, 0.15, (2000, seeds)), 0, 1)
        assert np.mean([bool(mean_interval(row, bounds=SHARE).clumps) for row in draws]) <= most


def test_split_seeds_needs_both_sides():
    assert split_seeds([0.4, 0.9, 0.8], [0]) == (Clump(1, 0.4), Clump(2, pytest.approx(0.85)))
    assert split_seeds([0.4, 0.9], [0, 1]) == split_seeds([0.4, 0.9], []) == ()


def test_clip_cuts_at_bounds():
    assert clip((-1.7, 0.4), (-1.0, 1.0)) == (-1.0, 0.4)
    assert clip((-1.7, 0.4), None) == (-1.7, 0.4)
    assert clip(None, (-1.0, 1.0)) is None


#: distribution of accuracies over seeds, mean, standard deviation, seeds → coverage in %, at least
COVERED = [
    ("normal", 0.6, 0.05, 2, 93),
    ("normal", 0.9, 0.03, 3, 93),
    ("beta", 0.9, 0.09, 3, 91.5),
    ("beta", 0.99, 0.01, 3, 89.5),
    ("beta", 0.01, 0.01, 5, 88.5),
    ("beta", 0.97, 0.02, 20, 92),
    ("logit-normal", 0.97, 0.02, 5, 89),
]


@pytest.mark.parametrize(("name", "mean", "sd", "seeds", "least"), COVERED)
def test_coverage_near_the_bounds(name, mean, sd, seeds, least):
    found = coverage(name, mean, sd, seeds, 2000)
    assert 100 * found["mtlab"] >= least
    assert found["mtlab"] >= found["t, cut"] - 0.01


def test_the_simulation_tells_a_bad_interval():
    """A t interval that is cut, where most seeds are near 100; one of logits, which is that of another mean."""
    few = coverage("beta", 0.99, 0.02, 5, 1000)
    assert few["mtlab"] > few["t, cut"] + 0.03
    many = coverage("beta", 0.97, 0.02, 20, 1000)
    assert many["mtlab"] > many["t of logits"] + 0.1


def test_with_two_seeds_the_logit_scale_would_say_nothing():
    found = coverage("beta", 0.99, 0.01, 2, 1000)
    assert found["mtlab"] > 0.91
    assert found["width of mtlab"] < 0.2 < 0.6 < found["width of logit scale"]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("mean", [0.01, 0.1, 0.5, 0.9, 0.97, 0.99])
def test_coverage_over_a_grid(mean, seeds):
    """Spreads up to 10 % of what a mean allows; a wider one is that of seeds of which a few fail wholly."""
    for name in ("normal", "beta", "logit-normal"):
        for share in (0.02, 0.05, 0.1):
            sd = share * (mean * (1 - mean)) ** 0.5
            assert coverage(name, mean, sd, seeds, 2000, methods=["mtlab"])["mtlab"] >= 0.85, (name, share)


def test_simulated_accuracies_have_the_moments_asked_for():
    rng = np.random.default_rng(0)
    drawn = draw_accuracies("beta", 0.97, 0.02, (100_000,), rng)
    assert (drawn.mean(), drawn.std()) == (pytest.approx(0.97, abs=1e-3), pytest.approx(0.02, abs=1e-3))
