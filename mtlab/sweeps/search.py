"""One variant's search: its Optuna study, from which trials are asked and to which their results are told.

Everything that is written goes through here. A trial that its launcher can no longer work on (stopped, or dead) goes
back among the waiting ones with its parameters, and is taken up again under its number: none is lost, none is doubled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.resolution import resolve
from mtlab.sweeps.definition import refuse_other_definition
from mtlab.sweeps.optuna_helpers import best_trials, silence_optuna, study_name
from mtlab.sweeps.status import (
    AGAIN,
    CELL,
    OWNER,
    POINT,
    PROBLEM,
    REFUSED,
    SECONDS,
    VALUES,
    SearchStatus,
    search_status,
)
from mtlab.sweeps.trials import with_parameters

if TYPE_CHECKING:
    import optuna

    from mtlab.sweeps.space import SearchParameter
    from mtlab.sweeps.storage.base import SweepStorage
    from mtlab.sweeps.variants import PreparedSweep, Variant

DEFINITION = "definition"  #: attribute of a study: what its search depends on


@dataclass(frozen=True)
class ProposedTrial:
    """A trial that was asked for."""

    trial: optuna.Trial
    params: Mapping[str, Any]  #: path → value of the setting
    reported: tuple[int, ...]  #: steps that an earlier launcher has reported

    @property
    def number(self) -> int:
        """Of the trial, from 0."""
        return self.trial.number


class Search:
    """The search of one variant. Make one by `open_search`.

    Args:
        prepared: the sweep.
        variant: the variant.
        study: its Optuna study.
        storage: where that lies.

    """

    def __init__(self, prepared: PreparedSweep, variant: Variant, study: optuna.Study, storage: SweepStorage) -> None:
        self.prepared = prepared
        self.variant = variant
        self.study = study
        self.storage = storage

    def status(self) -> SearchStatus:
        """Tell how the search stands now."""
        return search_status(self.study.get_trials(deepcopy=False), self.prepared.sweep.keys.budget)

    def best(self) -> tuple[int, float] | None:
        """Return the number of the best trial so far and its value in the first objective; None before there is one."""
        best = best_trials(self.study, self.prepared.sweep.objectives)
        return (best[0].number, best[0].values[0]) if best else None

    def ask(self, now: SearchStatus, owner: str) -> ProposedTrial | None:
        """Ask for a trial: a waiting one, else a new one if the budget has room.

        Call it within `SweepStorage.exclusive`.

        Args:
            now: how the search stands.
            owner: the name under which this launcher is present.

        Returns:
            None if there is none to be had. Its parameters need not go together: `trial_runs` tells.

        """
        waiting = min(now.waiting, default=None)
        if waiting is None and not now.room:
            return None
        number = now.asked if waiting is None else waiting
        with silence_optuna():
            self.study.sampler = self.prepared.sweep.sampler.make(number, conditional=self.variant.conditional)
            if waiting is None and now.points < len(self.variant.points):
                point = self.variant.points[now.points]
                self.study.enqueue_trial(dict(point), user_attrs={POINT: now.points})
            trial = self.study.ask()
            trial.set_user_attr(OWNER, owner)
            params = suggest_parameters(trial, self.variant)
        before = () if waiting is None else self.study.get_trials(deepcopy=False)[number].intermediate_values
        return ProposedTrial(trial, params, tuple(before))

    def take(self, trial: optuna.Trial, cell: str) -> None:
        """Write down which cell a trial is."""
        trial.set_user_attr(CELL, cell)

    def refuse(self, trial: optuna.Trial, why: str, excess: Mapping[str, float]) -> None:
        """Tell that a trial is not to be trained, and by how much it broke which limit. Call it within `SweepStorage.exclusive`."""
        from optuna.trial import TrialState

        with silence_optuna():
            trial.set_user_attr(REFUSED, why)
            for name, value in excess.items():
                trial.set_constraint(name, value)
            self.study.tell(trial.number, state=TrialState.PRUNED)

    def report(self, trial: optuna.Trial, value: float, step: int) -> None:
        """Report a value on a trial's way."""
        with silence_optuna():
            trial.report(value, step)

    def worse(self, trial: optuna.Trial) -> bool:
        """Ask the pruner whether what was reported is bad enough to stop."""
        with silence_optuna():
            return trial.should_prune()

    def complete(
        self,
        trial: optuna.Trial,
        values: Sequence[float],
        by_seed: Mapping[int, Any],
        seconds: float,
        excess: Mapping[str, float],
    ) -> None:
        """Tell a trial's result: its objectives, those of each seed, and by how much it keeps or breaks each limit."""
        with silence_optuna(), self.storage.batch():
            trial.set_user_attr(VALUES, {str(seed): found for seed, found in by_seed.items()})
            trial.set_user_attr(SECONDS, seconds)
            for name, value in excess.items():
                trial.set_constraint(name, value)
            self.study.tell(trial.number, list(values))

    def prune(self, trial: optuna.Trial, by_seed: Mapping[int, Any], seconds: float) -> None:
        """Tell that a trial was stopped early."""
        from optuna.trial import TrialState

        with silence_optuna(), self.storage.batch():
            trial.set_user_attr(VALUES, {str(seed): found for seed, found in by_seed.items()})
            trial.set_user_attr(SECONDS, seconds)
            self.study.tell(trial.number, state=TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, kind: str, problem: str, seconds: float) -> None:
        """Tell that a trial failed."""
        from optuna.trial import TrialState

        with silence_optuna(), self.storage.batch():
            trial.set_user_attr(PROBLEM, {"kind": kind, "problem": problem})
            trial.set_user_attr(SECONDS, seconds)
            self.study.tell(trial.number, state=TrialState.FAIL)

    def release(self, number: int) -> None:
        """Put a running trial back among the waiting ones. Call it within `SweepStorage.exclusive`."""
        from optuna.trial import TrialState

        storage, study = self.storage.optuna_storage, self.study
        found = storage.get_trial_id_from_study_id_trial_number(
            storage.get_study_id_from_name(study.study_name), number
        )
        if storage.get_trial(found).state == TrialState.RUNNING:
            storage.set_trial_state_values(found, TrialState.WAITING)

    def rescue(self, now: SearchStatus, present: str) -> list[int]:
        """Release the running trials whose launchers are gone; return their numbers. Call it within `SweepStorage.exclusive`.

        Args:
            now: how the search stands.
            present: the name of this launcher, which is not gone.

        """
        lost = [
            number
            for number, owner in now.owners.items()
            if owner != present and (owner is None or self.storage.launcher_is_gone(owner))
        ]
        for number in lost:
            self.release(number)
        return lost

    def retry(self) -> list[int]:
        """Enqueue again what failed for a reason outside of its settings; return those numbers. Call it within `SweepStorage.exclusive`."""
        again = list(self.status().to_retry)
        trials = self.study.get_trials(deepcopy=False)
        for number in again:
            self.study.enqueue_trial(dict(trials[number].params), user_attrs={AGAIN: number})
        return again


def check_search(prepared: PreparedSweep, variant: Variant, storage: SweepStorage) -> None:
    """Refuse to go on with a search that was begun with something else; one that has not begun is all right.

    Raises:
        UserError: it was begun with another space, objective or the like.

    """
    name = study_name(prepared.sweep.name, variant.label)
    with suppress(KeyError):
        attributes = storage.optuna_storage.get_study_user_attrs(storage.optuna_storage.get_study_id_from_name(name))
        if DEFINITION in attributes:
            refuse_other_definition(prepared.sweep, variant.label, attributes[DEFINITION], prepared.definition(variant))


def open_search(prepared: PreparedSweep, variant: Variant, storage: SweepStorage) -> Search:
    """Open the search of a variant, or begin it. Call it within `SweepStorage.exclusive`."""
    import optuna

    sweep = prepared.sweep
    with silence_optuna():
        study = optuna.create_study(
            storage=storage.optuna_storage,
            study_name=study_name(sweep.name, variant.label),
            directions=["maximize" if objective.mode == "max" else "minimize" for objective in sweep.objectives],
            load_if_exists=True,
            pruner=sweep.pruner.make(steps=variant.cell.steps, eval_every=variant.cell.config["train"]["eval_every"]),
        )
        if DEFINITION not in study.user_attrs:
            study.set_metric_names([objective.metric for objective in sweep.objectives])
            study.set_user_attr(DEFINITION, prepared.definition(variant))
    return Search(prepared, variant, study, storage)


def suggest_parameters(trial: optuna.Trial, variant: Variant) -> dict[str, Any]:
    """Draw a trial's parameters, in order, each if its condition holds for those before.

    Where those before do not go together, so that no condition can be judged, the rest is not drawn.
    """
    params: dict[str, Any] = {}
    for each in variant.space:
        if each.conditions:
            try:
                config = resolve.fill_defaults(with_parameters(variant.cell.row.config, params))
            except UserError:
                break
            if not each.applies(config):
                continue
        params[each.path] = each.decode(suggest(trial, each))
    return params


def suggest(trial: optuna.Trial, each: SearchParameter) -> Any:
    """Let Optuna suggest a parameter."""
    if each.kind == "choice":
        return trial.suggest_categorical(each.path, each.names)
    low, high = each.values
    if each.kind == "int":
        return trial.suggest_int(each.path, low, high, log=each.log, step=int(each.step or 1))
    return trial.suggest_float(each.path, low, high, log=each.log, step=each.step)
