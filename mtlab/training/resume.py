"""Resuming a run: its progress, and reading its last checkpoint. What is damaged is set aside, logged and redone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mtlab import checksums
from mtlab.runs import checkpoints
from mtlab.runs.results import THEN

FROM_START = "training starts from the beginning"


@dataclass
class TrainingProgress:
    """How far a run has come: the metadata of its last checkpoint."""

    step: int = 0  #: optimiser steps done
    seconds: float = 0.0  #: time spent in them, validation and start-up left out
    validated: int = 0  #: step of the last validation
    best: float | None = None  #: value of the choosing metric at `best_step`
    best_step: int = 0
    best_checksum: str | None = None  #: of the file of the best checkpoint; known to the main process alone
    validations_without_gain: int = 0  #: validations since `best_step`
    stopped: bool = False  #: by `train.patience`
    loss_sum: float = 0.0  #: of the steps since the last logged one
    loss_steps: int = 0
    train_loss: float | None = None  #: mean over the last logged steps
    conditions: list[dict[str, Any]] = field(default_factory=list)  #: of its steps, each time that they changed

    def continue_under(self, conditions: dict[str, Any]) -> str:
        """Note under which conditions the next steps are made; return what has changed, "" if nothing has.

        Args:
            conditions: see `environment.describe_conditions`.

        """
        before = self.conditions[-1] if self.conditions else conditions
        if before != conditions or not self.conditions:
            self.conditions.append(conditions)
        changed = [name for name in conditions if before.get(name) != conditions[name]]
        return ", ".join(f"{name} {before.get(name)}, now {conditions[name]}" for name in changed)

    def conditions_in_short(self) -> dict[str, Any]:
        """Return the conditions of all steps: what changed as text, in order."""
        seen = {name: list(dict.fromkeys(each.get(name) for each in self.conditions)) for name in self.conditions[-1]}
        return {name: each[0] if len(each) == 1 else THEN.join(map(str, each)) for name, each in seen.items()}

    def update(self, value: float, mode: Literal["max", "min"], patience: int | None) -> bool:
        """Take in a validation at `step`; return whether it is the best so far."""
        self.validated = self.step
        better = self.best is None or (value > self.best if mode == "max" else value < self.best)
        if better:
            self.best, self.best_step, self.best_checksum, self.validations_without_gain = value, self.step, None, 0
        else:
            self.validations_without_gain += 1
            self.stopped = patience is not None and self.validations_without_gain >= patience
        return better

    def forget_best(self) -> None:
        """Let the next validation be the best: the weights of the best so far are gone."""
        self.best, self.best_step, self.best_checksum, self.validations_without_gain = None, 0, None, 0


def read_last_checkpoint(
    last: Path, best: Path, log: Callable[[str], None]
) -> tuple[dict[str, Tensor], TrainingProgress] | None:
    """Read what training resumes from; None if it must start from the beginning.

    Without the best checkpoint it must: the run would be evaluated with other weights than validation chose.

    Args:
        last: path of the last checkpoint.
        best: path of the best one.
        log: prints a line if something is damaged or lost.

    """
    try:
        tensors, metadata = checkpoints.load(last)
        if metadata.keys() != {field.name for field in fields(TrainingProgress)}:
            raise checkpoints.CorruptError(f"{last.name} was written by another version of mtlab")
    except FileNotFoundError:
        if best.exists():  # the worker was killed as it finished, or the file was removed
            log(f"there is a {best.name}, but no {last.name}: {FROM_START}")
        return None
    except checkpoints.CorruptError as error:
        log(f"{error}: set aside as {checkpoints.set_aside(last).name}; {FROM_START}")
        return None
    progress = TrainingProgress(**metadata)
    intact, step = check_best_checkpoint(best, progress, log)
    if intact:
        return tensors, progress
    if step > progress.validated or not progress.best_step:
        # Written after the last checkpoint by a process that was killed: chosen again as the validations repeat. It may
        # be of the very step of the last checkpoint, if a signal came between that step and its validation.
        progress.forget_best()
        return tensors, progress
    log(f"the best checkpoint so far, of step {progress.best_step}, is lost: {FROM_START}")
    return None


def check_best_checkpoint(best: Path, progress: TrainingProgress, log: Callable[[str], None]) -> tuple[bool, int]:
    """Return whether the best checkpoint is the one that validation chose, and its step (0 if it cannot be read)."""
    try:
        metadata: Mapping[str, int] = checkpoints.load(best)[1]
    except FileNotFoundError:
        return False, 0
    except checkpoints.CorruptError as error:
        log(f"{error}: set aside as {checkpoints.set_aside(best).name}")
        return False, 0
    return checksums.read(best) == progress.best_checksum, metadata.get("step", 0)
