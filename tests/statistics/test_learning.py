"""Has it learned? Floors, their errors, and which seeds are above them."""

import numpy as np
import pytest

from mtlab.statistics.learning import Floor, Learning, blind_floor, floor_metrics, judge_learning


def test_floor_metrics_keep_split_and_family():
    assert floor_metrics("val/primary") == ("val/primary_floor", "val/primary_floor_error")
    assert floor_metrics("test/IR@1/flickr")[0] == "test/IR@1_floor/flickr"


def test_a_floor_is_the_mean_of_blind_outcomes_and_its_error_that_of_a_difference():
    rng = np.random.default_rng(0)
    scores, blind = rng.integers(0, 2, (2, 400)).astype(float)
    found = blind_floor(scores, blind, np.arange(400))
    assert found.score == blind.mean()
    assert found.error == pytest.approx((scores - blind).std(ddof=1) / 20)


def test_clusters_make_the_error_larger():
    scores = np.repeat(np.random.default_rng(1).integers(0, 2, 50), 6).astype(float)
    blind = np.zeros(300)
    alone, together = (blind_floor(scores, blind, groups) for groups in (np.arange(300), np.repeat(np.arange(50), 6)))
    assert together.error == pytest.approx(alone.error * 6**0.5, rel=0.02)


def test_clusters_of_no_example_do_not_count():
    scores, blind = np.array([1.0, 0.0, 1.0, 1.0]), np.zeros(4)
    few, among_many = (blind_floor(scores, blind, clusters) for clusters in (np.arange(4) // 2, np.arange(4) // 2 * 19))
    assert few == among_many


def test_who_gives_the_blind_answer_has_not_learned():
    blind = np.random.default_rng(2).integers(0, 2, 100).astype(float)
    floor = blind_floor(blind, blind, np.arange(100))
    assert floor.error == 0
    assert judge_learning({0: floor.score}, {0: floor}) == Learning(floor.score, (), (0,))


def test_seeds_are_judged_one_by_one():
    floors = dict.fromkeys(range(4), Floor(0.562, 0.01))
    found = judge_learning({0: 0.578, 1: 0.90, 2: 0.555, 3: 0.585}, floors)
    assert (found.learned, found.not_learned, found.floor) == ((1, 3), (0, 2), 0.562)
    assert str(found) == "not learned (2 of 4 seeds)"
    assert str(judge_learning({1: 0.9}, floors)) == "learned"


def test_nothing_is_judged_without_results_or_floors():
    assert judge_learning({}, {}) is None
    assert judge_learning({1: 0.9}, {0: Floor(0.5, 0.01)}) is None


def test_seeds_without_a_floor_do_not_hide_those_that_have_not_learned():
    found = judge_learning({0: 0.9, 1: 0.51}, {1: Floor(0.5, 0.01)})
    assert (found.learned, found.not_learned, found.seeds) == ((), (1,), 1)


def test_one_cluster_says_nothing_about_who_has_learned():
    scores, blind = np.arange(10) % 5 < 3, np.arange(10) % 2 == 0
    floor = blind_floor(scores.astype(float), blind.astype(float), np.zeros(10, np.int64))
    assert floor == Floor(0.5, np.inf)
    assert judge_learning({0: 0.6}, {0: floor}) is None


@pytest.mark.parametrize(("examples", "told"), [(5, False), (25, True)])
def test_nobody_is_judged_where_not_even_all_right_would_be_above_the_floor(examples: int, told: bool) -> None:
    blind = (np.arange(examples) % 5 > 0).astype(float)  # right in 80 %
    for right in (np.ones(examples), blind, np.arange(examples) % 2.0):
        floor = blind_floor(right, blind, np.arange(examples))
        assert np.isfinite(floor.error) == told
    perfect = blind_floor(np.ones(examples), blind, np.arange(examples))
    assert judge_learning({0: 1.0}, {0: perfect}) == (Learning(0.8, (0,), ()) if told else None)


def test_a_model_that_guesses_rarely_seems_to_have_learned():
    """Coins instead of answers, four questions a picture of one answer: 2.3 % are two standard errors above."""
    rng = np.random.default_rng(3)
    clusters, learned = np.repeat(np.arange(150), 4), 0
    for _ in range(1000):
        truth = np.repeat(rng.integers(0, 2, 150), 4)
        scores, blind = (np.repeat(rng.integers(0, 2, 150), 4) == truth).astype(float), (truth == 0).astype(float)
        floor = blind_floor(scores, blind, clusters)
        learned += judge_learning({0: float(scores.mean())}, {0: floor}).complete
    assert learned / 1000 <= 0.04
