"""The searches of a sweep as later commands read them: from its stored plan and storage, never from its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mtlab.config.check import check_config
from mtlab.errors import UserError
from mtlab.runs.store import Store, final_name, is_sweep
from mtlab.sweeps.optuna_helpers import best_trials, silence_optuna
from mtlab.sweeps.space import SearchParameter
from mtlab.sweeps.spec import Objective, SearchBudget
from mtlab.sweeps.status import CELL, PROBLEM, REFUSED, SearchStatus, search_status
from mtlab.sweeps.storage.base import SweepStorage, open_storage

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class StoredSearch:
    """One variant and its search, as it was stored."""

    variant: Mapping[str, Any]  #: its entry in the stored plan
    objectives: tuple[Objective, ...]
    budget: SearchBudget
    study: optuna.Study | None  #: None where it has not begun

    @property
    def label(self) -> str:
        """Its name in tables."""
        return str(self.variant["label"])

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return [] if self.study is None else self.study.get_trials(deepcopy=False)

    @cached_property
    def status(self) -> SearchStatus:
        """The search's status."""
        return search_status(self.trials, self.budget)

    @cached_property
    def space(self) -> dict[str, SearchParameter]:
        """The search space, by path."""
        return {path: SearchParameter.from_json(path, written) for path, written in self.variant["space"].items()}

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """The Pareto-optimal trials that keep all constraints, one of each cell, best in the first objective first."""
        trials = [] if self.study is None else best_trials(self.study, self.objectives)
        first: dict[str, FrozenTrial] = {}
        for trial in trials:
            first.setdefault(trial.user_attrs[CELL], trial)
        return list(first.values())

    @property
    def best(self) -> FrozenTrial | None:
        """The best trial, with several objectives by the first one; None before there is one."""
        return next(iter(self.front), None)

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial's parameters as settings, in the order of the space."""
        return {path: each.decode(trial.params[path]) for path, each in self.space.items() if path in trial.params}


def check_is_sweep(plan: Mapping[str, Any]) -> None:
    """Refuse a plan that is no sweep's.

    Raises:
        UserError: it is a study's.

    """
    if not is_sweep(plan):
        raise UserError(f"{plan['study']!r} is a study, no sweep: see `mtlab status` and `mtlab report`")


@contextmanager
def open_sweep(store: Store, plan: Mapping[str, Any]) -> Iterator[tuple[SweepStorage, tuple[StoredSearch, ...]]]:
    """Open the searches of a stored sweep for reading.

    Raises:
        UserError: the plan is not of a sweep, or its storage cannot be reached.

    """
    check_is_sweep(plan)
    storage = open_storage(plan["storage"], plan["study"], store.study(plan["study"]), create=False)
    try:
        yield storage, load_searches(storage, plan)
    finally:
        storage.close()


def load_searches(storage: SweepStorage | None, plan: Mapping[str, Any]) -> tuple[StoredSearch, ...]:
    """Load the searches of a plan's variants, in order; without a storage none has begun."""
    import optuna

    objectives = tuple(Objective(**objective) for objective in plan["objectives"])
    budget = check_config(SearchBudget, plan["budget"])
    studies: dict[str, optuna.Study] = {}
    if storage is not None:
        with silence_optuna():
            optuna_storage = storage.optuna_storage
            begun = optuna.get_all_study_names(optuna_storage)
            names = [name for variant in plan["variants"] if (name := variant["search"]) in begun]
            studies = {name: optuna.load_study(study_name=name, storage=optuna_storage) for name in names}
    return tuple(
        StoredSearch(variant, objectives, budget, studies.get(variant["search"])) for variant in plan["variants"]
    )


def random_alone(plan: Mapping[str, Any]) -> list[str]:
    """Say if a sampler that learns draws all trials of a sweep's budget at random; nothing otherwise."""
    sampler, trials = plan["sampler"], plan["budget"]["trials"]
    startup, given = int(sampler.get("n_startup_trials", 0)), min(len(each["start_from"]) for each in plan["variants"])
    if sampler["name"] not in ("tpe", "gp") or not startup >= trials > given:
        return []
    drawn = f"{sampler['name']} draws its first {startup} trials at random, and the budget is {trials}"
    return [f"{drawn}: lower sampler.n_startup_trials for a search that learns"]


def describe_sweep(
    store: Store, plan: Mapping[str, Any], storage: SweepStorage, searches: Sequence[StoredSearch]
) -> dict[str, Any]:
    """Describe the status of a sweep as plain data with stable keys."""
    name = final_name(plan["study"])
    return {
        "sweep": plan["study"],
        "objectives": plan["objectives"],
        "budget": plan["budget"],
        "complete": all(search.status.complete for search in searches),
        "variants": [_describe_search(search, storage) for search in searches],
        "final": name if name in store.study_names() else None,
    }


def _describe_search(search: StoredSearch, storage: SweepStorage) -> dict[str, Any]:
    status, best = search.status, search.best
    orphans = [number for number, owner in status.owners.items() if owner is None or storage.launcher_is_gone(owner)]
    trials = []
    for trial in search.trials:
        problem = trial.user_attrs.get(PROBLEM)
        trials.append(
            {
                "trial": trial.number,
                "state": "left behind" if trial.number in orphans else status.states[trial.number],
                "cell": trial.user_attrs.get(CELL),
                "values": trial.values,
                "step": trial.last_step,
                "params": search.params(trial),
                "problem": f"{problem['kind']}: {problem['problem']}" if problem else trial.user_attrs.get(REFUSED),
            }
        )
    return {
        "label": search.label,
        "search": search.variant["search"],
        "trials": dict(status.counts),
        "ended": status.ended,
        "seconds": status.seconds,
        "left_behind": orphans,
        "complete": status.complete,
        "best": None if best is None else {"trial": best.number, "values": best.values, "params": search.params(best)},
        "all": trials,
    }
