"""What an earlier attempt at a run left to go on from, if it is whole; what is damaged is set aside, told, redone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlab import checksums
from mtlab.runs import checkpoints
from mtlab.training.progress import Progress

ANEW = "training starts from the beginning"


@dataclass(frozen=True)
class Left:
    """A last checkpoint that can be gone on from."""

    tensors: Mapping[str, Tensor]
    progress: Progress


def left(last: Path, best: Path, tell: Callable[[str], None]) -> Left | None:
    """Read what there is; None if training must start from the beginning.

    The best checkpoint counts as well: a run that has lost it would be judged with other weights than validation chose.

    Args:
        last: path of the last checkpoint.
        best: path of the best one.
        tell: is given a line for the log, if something is not as it should be.

    """
    try:
        tensors, known = checkpoints.load(last)
    except FileNotFoundError:
        return None
    except checkpoints.CorruptError as error:
        tell(f"{error}: set aside as {checkpoints.set_aside(last).name}; {ANEW}")
        return None
    progress = Progress(**known)
    found, step = chosen(best, progress, tell)
    if found:
        return Left(tensors, progress)
    if step > progress.step or not progress.best_step:
        # Written after the last checkpoint by a process that was killed: chosen anew as the steps repeat.
        progress.forget_best()
        return Left(tensors, progress)
    tell(f"the best checkpoint so far, of step {progress.best_step}, is lost: {ANEW}")
    return None


def chosen(best: Path, progress: Progress, tell: Callable[[str], None]) -> tuple[bool, int]:
    """Tell whether the best checkpoint is the one that validation chose, and its step (0 if none can be read)."""
    try:
        about: Mapping[str, Any] = checkpoints.load(best)[1]
    except FileNotFoundError:
        return False, 0
    except checkpoints.CorruptError as error:
        tell(f"{error}: set aside as {checkpoints.set_aside(best).name}")
        return False, 0
    step: int = about["step"]
    known = progress.best_checksum in (None, checksums.read(best))
    return known and step == progress.best_step and step > 0, step
