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
    assert found.core_minutes[0] == pytest.approx(found.seeds[0] * 150 / 60)
    assert found.seeds[1] < found.seeds[0] < found.seeds[2]  # type: ignore[operator]
    assert "| bridge, static | 5 | 1.58 |" in time_to_answer.table([found])
