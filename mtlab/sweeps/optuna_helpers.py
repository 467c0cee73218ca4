"""Helpers on Optuna's studies: their names, their best trials, and how to keep Optuna from logging."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from mtlab.sweeps.spec import Objective


@contextmanager
def silence_optuna() -> Iterator[None]:
    """Suppress Optuna's log lines and warnings: what they say of samplers is in our docs."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"optuna\.")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def best_trials(study: optuna.Study, objectives: Sequence[Objective]) -> list[FrozenTrial]:
    """Return the Pareto-optimal trials that keep all constraints, best in the first objective first."""
    if len(objectives) == 1:
        try:
            return [study.best_trial]
        except ValueError:  # none has finished, or none keeps the constraints
            return []
    sign = -1.0 if objectives[0].mode == "max" else 1.0
    return sorted(study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))


def study_name(sweep: str, label: str) -> str:
    """Return the name of the Optuna study of a variant."""
    return f"{sweep} / {label}"
