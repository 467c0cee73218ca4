"""The search of one variant: an Optuna study that proposes trials and records their results.

Every write to the study goes through here. A trial whose launcher was stopped or killed is set back to waiting with its
parameters, and continued under its number: none is lost, none is doubled. A launcher that was taken for dead, as its
connection to the storage was lost, may live on: trials are ended and released by the launcher that they belong to now.

docs/reliability.md has the states and transitions; tests/faults/sweep_protocol.py explores their interleavings.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.resolution.defaults import fill_defaults
from mtlab.studies.axes import plain_label, with_settings
from mtlab.sweeps.optuna_helpers import best_trials, silence_optuna, study_name
from mtlab.sweeps.status import (
    CELL,
    OWNER,
    PROBLEM,
    REFUSED,
    RETRY_OF,
    SECONDS,
    START_POINT,
    VALUES,
    SearchStatus,
    search_status,
)

if TYPE_CHECKING:
    import optuna

    from mtlab.sweeps.space import SearchParameter
    from mtlab.sweeps.storage.base import SweepStorage
    from mtlab.sweeps.variants import PreparedSweep, Variant

DEFINITION = "definition"  #: attribute of a study: what its search depends on


@dataclass(frozen=True)
class ProposedTrial:
    """A trial with its parameters, as the sampler proposed it."""

    trial: optuna.Trial
    params: Mapping[str, Any]  #: path → value of the setting
    reported: tuple[int, ...]  #: steps that an earlier launcher has reported

    @property
    def number(self) -> int:
        """Of the trial, from 0."""
        return self.trial.number


@dataclass(frozen=True, eq=False)
class Search:
    """The search of one variant. Make one by `open_search`."""

    prepared: PreparedSweep
    variant: Variant
    study: optuna.Study
    storage: SweepStorage

    def status(self) -> SearchStatus:
        """Return the search's status now."""
        return search_status(self.study.get_trials(deepcopy=False), self.prepared.sweep.keys.budget)

    def best(self) -> tuple[int, float] | None:
        """Return the number of the best trial so far and its value in the first objective; None before there is one."""
        best = best_trials(self.study, self.prepared.sweep.objectives)
        return (best[0].number, best[0].values[0]) if best else None

    def propose(self, status: SearchStatus, owner: str) -> ProposedTrial | None:
        """Propose a trial: a waiting one, else a new one if the budget has room.

        Call it within `SweepStorage.exclusive`.

        Args:
            status: of the search.
            owner: the token of this launcher.

        Returns:
            None if there is none to be had. Whether its parameters go together, `trial_runs` says.

        """
        waiting = min(status.waiting, default=None)
        if waiting is None and not status.has_room:
            return None
        number = status.proposed if waiting is None else waiting
        with silence_optuna():
            refused = status.states.get(number - 1) == "refused"
            make = self.prepared.sweep.sampler.make
            self.study.sampler = make(number, conditional=self.variant.conditional, refused=refused)
            if waiting is None and status.start_points < len(self.variant.start_points):
                point = self.variant.start_points[status.start_points]
                self.study.enqueue_trial(dict(point), user_attrs={START_POINT: status.start_points})
            trial = self.study.ask()
            trial.set_user_attr(OWNER, owner)
            params = suggest_parameters(trial, self.variant)
        before = () if waiting is None else self.study.get_trials(deepcopy=False)[number].intermediate_values
        return ProposedTrial(trial, params, tuple(before))

    def set_cell(self, trial: optuna.Trial, cell: str) -> None:
        """Record which cell a trial is."""
        trial.set_user_attr(CELL, cell)

    def refuse(self, trial: optuna.Trial, why: str, excess: Mapping[str, float]) -> None:
        """End a trial that is not trained, with the constraints that it violates.

        Call it within `SweepStorage.exclusive`.
        """
        from optuna.trial import TrialState

        with silence_optuna():
            trial.set_user_attr(REFUSED, why)
            _set_constraints(trial, excess)
            self.study.tell(trial.number, state=TrialState.PRUNED)

    def report(self, trial: optuna.Trial, value: float, step: int) -> None:
        """Report an intermediate value, unless another launcher has ended the trial."""
        from optuna.exceptions import UpdateFinishedTrialError

        with silence_optuna(), suppress(UpdateFinishedTrialError):
            trial.report(value, step)

    def should_prune(self, trial: optuna.Trial) -> bool:
        """Ask the pruner whether the reported values are bad enough to stop."""
        with silence_optuna():
            return trial.should_prune()

    def complete(
        self,
        trial: optuna.Trial,
        values: Sequence[float],
        by_seed: Mapping[int, Any],
        seconds: float,
        excess: Mapping[str, float],
    ) -> bool:
        """End a trial with its objectives, those of each seed, and by how much it violates each constraint.

        Returns:
            False if it belongs to another launcher by now, and is left alone. So do `prune` and `fail`.

        """
        return self._end(trial, _results(by_seed, seconds), values=values, excess=excess)

    def prune(self, trial: optuna.Trial, by_seed: Mapping[int, Any], seconds: float) -> bool:
        """End a trial that was stopped early."""
        from optuna.trial import TrialState

        return self._end(trial, _results(by_seed, seconds), TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, kind: str, problem: str, seconds: float) -> bool:
        """End a trial that failed."""
        from optuna.trial import TrialState

        attributes = {PROBLEM: {"kind": kind, "problem": problem}, SECONDS: seconds}
        return self._end(trial, attributes, TrialState.FAIL)

    def _end(
        self,
        trial: optuna.Trial,
        attributes: Mapping[str, Any],
        state: optuna.trial.TrialState | None = None,
        *,
        values: Sequence[float] | None = None,
        excess: Mapping[str, float] | None = None,
    ) -> bool:
        """End a trial under the sweep's lock, if it is still ours; without `state` it is complete."""
        from optuna.exceptions import UpdateFinishedTrialError

        owner = trial.user_attrs[OWNER]
        with silence_optuna(), self.storage.exclusive():
            if not self._belongs_to(trial.number, owner):
                return False
            try:
                for name, value in attributes.items():
                    trial.set_user_attr(name, value)
                _set_constraints(trial, excess or {})
                self.study.tell(trial.number, values and list(values), state)
            except (UpdateFinishedTrialError, ValueError):
                if self._belongs_to(trial.number, owner):
                    raise
                return False  # one whose connection broke under the lock has ended or released it just now
            return True

    def _belongs_to(self, number: int, owner: str | None) -> bool:
        """Return whether a trial is running, and whether by this launcher."""
        from optuna.trial import TrialState

        now = self.study.get_trials(deepcopy=False)[number]
        return now.state == TrialState.RUNNING and now.user_attrs.get(OWNER) == owner

    def release(self, number: int, owner: str | None) -> None:
        """Set a running trial back to waiting if it is still this launcher's; call it within `SweepStorage.exclusive`.

        Args:
            number: of the trial.
            owner: the token of the launcher; None if the trial has none yet.

        """
        from optuna.trial import TrialState

        if self._belongs_to(number, owner):
            storage = self.storage.optuna_storage
            study = storage.get_study_id_from_name(self.study.study_name)
            trial = storage.get_trial_id_from_study_id_trial_number(study, number)
            storage.set_trial_state_values(trial, TrialState.WAITING)

    def release_orphans(self, status: SearchStatus, token: str, active: Collection[int] = ()) -> list[int]:
        """Release the running trials that nobody works on, as their launchers are gone; return their numbers.

        Call it within `SweepStorage.exclusive`.

        Args:
            status: of the search.
            token: of this launcher, which is not gone.
            active: numbers of the trials that it works on.

        """
        orphans = [
            number
            for number, owner in status.owners.items()
            if number not in active and (owner in (None, token) or self.storage.launcher_is_gone(owner))
        ]
        for number in orphans:
            self.release(number, status.owners[number])
        return orphans

    def retry(self) -> list[int]:
        """Enqueue again the trials that failed for a reason outside of their settings; return their numbers.

        Call it within `SweepStorage.exclusive`.
        """
        numbers = list(self.status().to_retry)
        trials = self.study.get_trials(deepcopy=False)
        for number in numbers:
            self.study.enqueue_trial(dict(trials[number].params), user_attrs={RETRY_OF: number})
        return numbers


def _results(by_seed: Mapping[int, Any], seconds: float) -> dict[str, Any]:
    return {VALUES: {str(seed): values for seed, values in by_seed.items()}, SECONDS: seconds}


def _set_constraints(trial: optuna.Trial, excess: Mapping[str, float]) -> None:
    for name, value in excess.items():
        trial.set_constraint(name, value)


def check_search(prepared: PreparedSweep, variant: Variant, storage: SweepStorage) -> None:
    """Refuse to continue a search whose definition has changed; one that has not begun passes.

    Raises:
        UserError: it was begun with another space, objective or the like; the first difference is named.

    """
    name = study_name(prepared.sweep.name, variant.label)
    try:
        study = storage.optuna_storage.get_study_id_from_name(name)
        stored = storage.optuna_storage.get_study_user_attrs(study)[DEFINITION]
    except KeyError:
        return
    difference = next(_differences(stored, json.loads(json.dumps(prepared.definition(variant)))), None)
    if difference is None:
        return
    path, *values = difference
    before, now = ("nothing" if value is None else plain_label(value) for value in values)
    raise prepared.sweep.error(
        f"the search of {variant.label} was begun with another {path}: {before}, now {now}; "
        f"a search cannot change on its way: set that back, or give the sweep another name "
        f"(finished runs are used again)",
        "name",
    )


def _differences(left: Mapping[str, Any], right: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs: path, left, right; None where one side has nothing. Distributions are compared whole."""
    for key in dict.fromkeys((*left, *right)):
        path = f"{at}.{key}" if at else str(key)
        one, other = left.get(key), right.get(key)
        distribution = isinstance(one, Mapping) and not {"float", "int", "choice"}.isdisjoint(one)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and not distribution:
            yield from _differences(one, other, path)
        elif one != other:
            yield path.removeprefix("variant.config."), one, other


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
    """Let Optuna suggest a trial's parameters, in order, each if its condition holds for those before.

    Where those before do not go together, so that no condition can be evaluated, the rest is not suggested.
    """
    params: dict[str, Any] = {}
    for each in variant.space:
        if each.conditions:
            try:
                config = fill_defaults(with_settings(variant.cell.row.config, params))
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
