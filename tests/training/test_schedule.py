from itertools import pairwise
from typing import Any

import pytest

from mtlab.config.schema import TrainConfig
from mtlab.training.optimisation.schedule import learning_rate_factor


def rates(steps: int, **options: Any) -> list[float]:
    return [learning_rate_factor(step, steps, TrainConfig(**options)) for step in range(steps)]


def test_warm_up_rises_linearly_and_loses_no_step() -> None:
    found = rates(100, warmup=0.1)
    assert found[:11] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert found[0] > 0
    assert max(found) == found[10] == 1


def test_linear_decay_would_end_one_step_after_the_last() -> None:
    found = rates(100, warmup=0.0, decay="linear")
    assert found == pytest.approx([1 - step / 100 for step in range(100)])


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decay_falls_to_the_end_rate(decay: str) -> None:
    found = rates(1000, warmup=0.1, decay=decay, end_lr=0.2)
    assert all(one >= two for one, two in pairwise(found[100:]))
    assert found[-1] == pytest.approx(0.2, abs=2e-3)
    assert found[550] == pytest.approx(0.6, abs=1e-3)  # both are half-way down in the middle


def test_constant_stays_at_the_peak() -> None:
    assert rates(10, warmup=0.0, decay="constant") == [1.0] * 10


def test_one_step_is_a_schedule_too() -> None:
    assert rates(1, warmup=0.1) == [1.0]
