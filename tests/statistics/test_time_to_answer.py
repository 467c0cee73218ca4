"""The time until a difference is shown, from the spread of finished runs."""

import polars as pl
import pytest
import time_to_answer

from mtlab.statistics.power import seeds_to_detect

SEEDS = range(5)
WOBBLE = (0.01, -0.01, 0.0, 0.02, -0.02)


def runs() -> pl.DataFrame:
    rows = [{"label": "bridge", "seed": seed, "test/accuracy": 0.8, "cost/seconds": 60.0} for seed in SEEDS]
    rows += [
        {"label": "static", "seed": seed, "test/accuracy": 0.8 + wobble, "cost/seconds": 90.0}
        for seed, wobble in zip(SEEDS, WOBBLE, strict=True)
    ]
    return pl.DataFrame([*rows, {"label": "once", "seed": 0, "test/accuracy": 0.9, "cost/seconds": 60.0}])


def test_seeds_and_minutes_follow_from_the_spread() -> None:
    (found,) = time_to_answer.answers(runs(), "test/accuracy", 0.01, 0.05)
    assert found.labels == ("bridge", "static")
    assert found.sd == pytest.approx(pl.Series(WOBBLE).std())
    assert found.seeds[0] == seeds_to_detect(0.01, found.sd, 0.05, most=1000)
    assert found.seeds[0] is not None
    assert found.minutes(found.seeds[0]) == pytest.approx(found.seeds[0] * 150 / 60)
    assert found.seeds[1] < found.seeds[0] < found.seeds[2]  # type: ignore[operator]


def test_a_sequential_number_of_seeds_has_the_power_and_is_smaller_in_the_mean() -> None:
    fixed = seeds_to_detect(1.0, 1.2, most=1000)
    assert fixed is not None
    most, rates = time_to_answer.until_decided(1.2, 1.0, fixed, studies=1000)
    assert most >= fixed
    assert rates.shown >= 0.8
    assert rates.seeds < fixed


def test_a_trial_is_hopeless_where_samples_do_not_explain_its_distance() -> None:
    trials = pl.DataFrame({"label": ["bridge"] * 3, "val/accuracy": [0.88, 0.87, 0.8]})
    (found,) = time_to_answer.search_rows(runs().filter(label="bridge"), trials)
    assert found == {
        "variant": "bridge",
        "trials": 3,
        "core-min": 3.0,
        "hopeless trials": 1,
        "their core-min": 1.0,
    }
