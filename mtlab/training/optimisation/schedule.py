"""The learning rate over a run: a linear warm-up, then a decay to the end value."""

from __future__ import annotations

import math

from mtlab.config.schema import TrainConfig


def learning_rate_factor(step: int, steps: int, train: TrainConfig) -> float:
    """Return the learning rate of a step as a share of the peak.

    It rises linearly over the first `train.warmup` of the steps (none is lost at a rate of 0, unless
    `train.warmup_from_zero` asks for it, as the published code does), is 1 right after, and would reach `train.end_lr`
    one step after the last. A linear decay is a polynomial one of `train.power`, 1 in all published settings.

    Args:
        step: the optimiser step, from 0.
        steps: the length of the run.
        train: warm-up, kind of decay and end value.

    """
    warm = int(train.warmup * steps) if train.warmup_from_zero else round(train.warmup * steps)
    if step < warm:
        return step / warm if train.warmup_from_zero else (step + 1) / (warm + 1)
    done = (step - warm) / max(1, steps - warm)
    decay = {"linear": math.pow(1 - done, train.power), "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
    return train.end_lr + (1 - train.end_lr) * decay[train.decay]
