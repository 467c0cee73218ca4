"""Tests at several looks: exact for t, nested in alpha, and honest over whole studies."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special
from sequential_seeds import (
    ENDS,
    LOOKS,
    Scenario,
    decide,
    decide_all,
    draw,
    edge_scenarios,
    error_scenarios,
    fixed,
    simulate,
)

from mtlab.statistics.equivalence import equivalence_p
from mtlab.statistics.paired import paired_t_examples
from mtlab.statistics.sequential import look_boundaries
from mtlab.statistics.spending import spent_alpha
from mtlab.statistics.stopping import Evidence, StoppingRule

LIMIT = 0.06  #: of errors at alpha = 0.05


@pytest.fixture(scope="module")
def t_paths():
    """Null t statistics of 100,000 studies after 4 to 20 seeds, [studies, looks]."""
    draws = np.random.default_rng(7).standard_normal((100_000, LOOKS[-1]))
    counts = np.arange(1, LOOKS[-1] + 1)
    means, squares = np.cumsum(draws, axis=1) / counts, np.cumsum(draws**2, axis=1)
    spreads = (squares - counts * means**2)[:, 3:] / (counts[3:] - 1)
    return means[:, 3:] / np.sqrt(spreads / counts[3:])


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_looks_spend_what_they_should_with_unknown_variance(spending, sides, t_paths):
    """The share of null studies that have stopped by each look is the alpha that was to be spent by then."""
    levels = np.array(look_boundaries(LOOKS, spending, sides=sides).at(0.05))
    df = np.array(LOOKS) - 1
    nominal = sides * special.stdtr(df, -np.abs(t_paths) if sides == 2 else t_paths)
    stopped = np.maximum.accumulate(nominal <= levels, axis=1).mean(axis=0)
    wanted = [float(spent_alpha(0.05, n / 20, spending, sides=sides)) for n in LOOKS]
    assert stopped == pytest.approx(wanted, abs=0.0025)  # over three standard errors of the simulation


def test_boundaries_of_many_seeds_are_those_of_lan_and_demets():
    """Two-sided, O'Brien-Fleming type, five equal looks, for normal data."""
    levels = look_boundaries((8, 16, 24, 32, 40), "obrien_fleming", sides=2).at(0.05)
    assert -special.ndtri(np.array(levels) / 2) == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=0.025)


def test_one_look_is_the_usual_test():
    boundaries = look_boundaries((5,), "obrien_fleming", sides=2)
    assert boundaries.at(0.05) == pytest.approx((0.05,), rel=1e-3)
    assert boundaries.p_value(0, 0.013) == pytest.approx(0.013, rel=1e-3)


@pytest.mark.parametrize("looks", [LOOKS, (2, 3, 5, 8), (4, 8, 24)])
@pytest.mark.parametrize("sides", [1, 2])
def test_p_value_of_looks_is_the_alpha_at_which_they_are_significant(looks, sides):
    boundaries = look_boundaries(looks, "obrien_fleming", sides=sides)
    assert (np.diff(boundaries.levels, axis=0) >= 0).all()  # nested: significant at one alpha, so at each larger one
    for alpha in (0.3, 0.05, 0.01, 0.001):
        for look, level in enumerate(boundaries.at(alpha)):
            if level > 1e-12:
                assert boundaries.p_value(look, level) == pytest.approx(alpha, rel=1e-6)
    assert boundaries.p_value(len(looks) - 1, 1e-30) == pytest.approx(1e-6)  # the smallest that is told
    assert boundaries.p_value(0, 0.99) == 1.0


def test_equivalence_is_two_one_sided_tests():
    found = paired_t_examples([0.1, -0.2, 0.3, 0.0, 0.1], None)
    lower = special.stdtr(4, -(found.difference + 0.5) / found.error)
    upper = special.stdtr(4, (found.difference - 0.5) / found.error)
    assert equivalence_p(found, 0.5) == pytest.approx(max(lower, upper))
    assert equivalence_p(paired_t_examples([0.3], None), 0.5) is None
    assert equivalence_p(found, abs(found.difference)) == pytest.approx(0.5)


def test_equal_results_in_every_seed_are_no_certainty():
    assert equivalence_p(paired_t_examples([0.0] * 6, None), 0.5) == 2**-6
    assert equivalence_p(paired_t_examples([0.2] * 6, None), 0.5) == 2**-6
    assert equivalence_p(paired_t_examples([0.7] * 6, None), 0.5) == 1.0


def test_evidence_never_gets_weaker_and_holm_counts_comparisons_without_a_look():
    rule = StoppingRule(LOOKS, 0.5)
    strong = paired_t_examples([5.0, 5.1, 4.9, 5.0, 5.1, 4.9, 5.0], None)
    weak = paired_t_examples([5.0, 5.1, 4.9, 5.0, 5.1, 4.9, 5.0, -30.0], None)
    once = rule.update(Evidence(), 3, strong)
    assert rule.update(once, 4, weak) == once
    alone, among = rule.corrected([once])[0].p, rule.corrected([once, Evidence(), Evidence()])[0].p
    assert alone == once.p < 0.01
    assert among == pytest.approx(3 * once.p)
    assert rule.ended_by(3, rule.corrected([once])[0]) == "difference"
    assert rule.ended_by(3, rule.corrected([Evidence()])[0]) is None
    assert rule.ended_by(len(LOOKS) - 1, rule.corrected([Evidence()])[0]) == "max"


def test_looking_without_paying_for_it_would_be_wrong_four_times_as_often(t_paths):
    """What the boundaries are for: p <= 0.05 at any of seventeen looks."""
    nominal = 2 * special.stdtr(np.array(LOOKS) - 1, -np.abs(t_paths))
    assert (nominal <= 0.05).any(axis=1).mean() > 0.18


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario((0.0, 0.6, 3.0), margin=0.8),
        Scenario((0.0, 2.0), margin=1.7, examples=0.3, spending="pocock", looks=(4, 7, 10)),
    ],
    ids=["seeds alone", "with examples"],
)
def test_the_simulation_of_many_studies_decides_as_the_product_does(scenario):
    paired = draw(scenario, 40, seed=5)
    many = decide_all(scenario.rule, paired, np.full((1, 1, 1), scenario.examples**2))
    for study, ended, numbers, found, widths in zip(
        paired, many.ended, many.n, many.difference, many.half_width, strict=True
    ):
        for at, (why, test) in enumerate(decide(scenario.rule, study, scenario.examples)):
            assert (ENDS[ended[at]], numbers[at]) == (why, test.n)
            assert found[at] == pytest.approx(test.difference)
            assert widths[at] == pytest.approx((test.interval[1] - test.interval[0]) / 2)
    assert len({*many.ended.ravel()}) == 3  # all three ways to end


QUICK_ERRORS = [
    Scenario((0.0,)),
    Scenario((0.0,), spending="pocock"),
    Scenario((0.0,), examples=0.3),
    Scenario((0.0, 0.0), shared=0.9, examples=0.1),
    Scenario((0.0, 0.0, 4.0), margin=0.1),
]


@pytest.mark.parametrize(
    "scenario", QUICK_ERRORS, ids=lambda kind: f"{kind.differences} {kind.examples} {kind.spending}"
)
def test_no_difference_is_shown_where_there_is_none(scenario):
    studies = 1000 if scenario.examples else 4000  # with examples errors are rarer, and simulations slower
    assert simulate(scenario, studies, seed=1).false_difference <= LIMIT


@pytest.mark.parametrize("examples", [0.0, 0.2])
def test_no_equivalence_is_shown_at_the_margin(examples):
    scenario = Scenario((1.0, -1.0), margin=1.0, examples=examples)
    assert simulate(scenario, 1000 if examples else 4000, seed=2).false_equivalence <= LIMIT


def test_large_differences_and_equivalences_take_few_seeds():
    large, equal = simulate(Scenario((5.0,)), 500), simulate(Scenario((0.0,), margin=4.0), 500)
    assert (large.shown, equal.equivalent) == (1.0, 1.0)
    assert large.seeds < 7
    assert equal.seeds < 7
    small = Scenario((0.75,))
    ours, whole = simulate(small, 2000), simulate(fixed(small, 20), 2000)
    assert ours.seeds < 17
    assert ours.shown > whole.shown - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize(("name", "scenario"), error_scenarios())
def test_errors_over_the_grid(name, scenario, spending):
    limit = 0.15 if scenario.noise == "skewed" else LIMIT  # what docs/seeds.md warns of
    assert simulate(replace(scenario, spending=spending), 1_500, seed=3).false_difference <= limit


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scenario"), edge_scenarios())
def test_errors_at_the_margin_over_the_grid(name, scenario):
    assert simulate(scenario, 1_500, seed=4).false_equivalence <= LIMIT
