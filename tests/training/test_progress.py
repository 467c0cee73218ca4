import random
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import pytest
import torch

from mtlab.runs import checkpoints
from mtlab.training.resume import TrainingProgress, read_last_checkpoint


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


@pytest.mark.parametrize("damage", ["bit", "cut", "zeros", "rubbish", "lost"])
@pytest.mark.parametrize(
    ("last_step", "known_best", "best_step"),
    [(None, 0, 8), (5, 0, 8), (10, 8, 8), (15, 8, 16)],
    ids=["no last", "best after last", "best in last", "newer best after last"],
)
def test_a_damaged_best_checkpoint_is_told_wherever_its_worker_was_killed(
    tmp_path: Path, damage: str, last_step: int | None, known_best: int, best_step: int
) -> None:
    """Silent is only the loss of a best checkpoint of which the last one does not know."""
    best, last, dice, told = tmp_path / "best.safetensors", tmp_path / "last.safetensors", random.Random(0), list[str]()
    tensors = {"weight": torch.arange(64.0) + 1}
    known = checkpoints.save(best, tensors, {"step": known_best})
    if last_step is not None:
        progress = TrainingProgress(last_step, best_step=known_best, best=0.5, best_checksum=known)
        checkpoints.save(last, tensors, asdict(progress if known_best else TrainingProgress(last_step)))
    if best_step != known_best:
        checkpoints.save(best, tensors, {"step": best_step})
    data = best.read_bytes()
    if damage == "bit":
        place = dice.randrange(len(data))
        best.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
    elif damage == "lost":
        best.unlink()
    else:
        best.write_bytes({"cut": data[:-9], "zeros": bytes(len(data)), "rubbish": dice.randbytes(len(data))}[damage])
    found = read_last_checkpoint(last, best, told.append)
    unknown = damage == "lost" and known_best == 0  # as if the worker had been killed before it wrote it
    assert (told == []) == unknown
    if found is not None:  # steps repeat, and choose it again
        assert found[1].step == last_step
        assert found[1].best_step == 0
