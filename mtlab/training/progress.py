"""How far a run has come: what must be known, beside tensors, to go on as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Progress:
    """Plain data, kept in the last checkpoint's metadata."""

    step: int = 0  #: optimiser steps done
    seconds: float = 0.0  #: time spent in them, validation and start-up left out
    validated: int = 0  #: step of the last validation
    best: float | None = None  #: value of the choosing metric at `best_step`
    best_step: int = 0
    best_checksum: str | None = None  #: of the best checkpoint's file; None until it is written
    worse: int = 0  #: validations since then
    stopped: bool = False  #: by `train.patience`
    loss_sum: float = 0.0  #: of the steps since the last logged one
    loss_steps: int = 0
    train_loss: float | None = None  #: mean over the last logged steps

    def update(self, value: float, mode: Literal["max", "min"], patience: int | None) -> bool:
        """Take in a validation at `step`; tell whether it is the best so far."""
        self.validated = self.step
        better = self.best is None or (value > self.best if mode == "max" else value < self.best)
        if better:
            self.best, self.best_step, self.best_checksum, self.worse = value, self.step, None, 0
        else:
            self.worse += 1
            self.stopped = patience is not None and self.worse >= patience
        return better

    def forget_best(self) -> None:
        """Let the next validation be the best: the weights of the best so far are gone."""
        self.best, self.best_step, self.best_checksum, self.worse = None, 0, None, 0
