from typing import Literal

import pytest

from mtlab.training.resume import TrainingProgress


def progress_after(
    values: list[float], mode: Literal["max", "min"] = "max", patience: int | None = None
) -> TrainingProgress:
    progress = TrainingProgress()
    for value in values:
        progress.step += 10
        progress.update(value, mode, patience)
    return progress


@pytest.mark.parametrize(("mode", "step", "best"), [("max", 20, 0.7), ("min", 30, 0.1)])
def test_the_best_is_the_first_of_equals(mode: Literal["max", "min"], step: int, best: float) -> None:
    progress = progress_after([0.3, 0.7, 0.1, 0.7, 0.1], mode)
    assert (progress.best_step, progress.best) == (step, best)


def test_patience_counts_validations_in_a_row_without_a_better_one() -> None:
    assert not progress_after([0.5, 0.4, 0.6, 0.6], patience=2).stopped
    assert progress_after([0.5, 0.4, 0.6, 0.6, 0.5], patience=2).stopped
    assert not progress_after([0.5, 0.1, 0.1, 0.1]).stopped
