"""The stored plan of a sweep, `plan.json`: what is searched, and the runs of every trial so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from mtlab.config.check import to_plain
from mtlab.errors import UserError
from mtlab.runs.store import Store, final_name, is_sweep
from mtlab.studies import plan as studies
from mtlab.studies.seeds import parse_seeds
from mtlab.sweeps.optuna_helpers import study_name
from mtlab.sweeps.spec import rules_to_json
from mtlab.sweeps.status import CELL
from mtlab.sweeps.storage.base import SweepStorage
from mtlab.sweeps.stored import StoredSearch, load_searches
from mtlab.sweeps.trials import TrialRuns, trial_runs
from mtlab.sweeps.variants import PreparedSweep, Variant
from mtlab.sweeps.winners import absolute_start
from mtlab.tracking.settings import plain_tracking


def to_json(prepared: PreparedSweep) -> dict[str, Any]:
    """Return the content of `plan.json`, without any trial."""
    sweep, keys = prepared.sweep, prepared.sweep.keys
    rules, first = rules_to_json(sweep), sweep.objectives[0]
    shared = studies.to_json(prepared.as_plan)
    return {
        **shared,
        "kind": "sweep",
        "design": "sweep",
        "baseline": next((each.label for each in prepared.variants if each.cell.row.baseline), None),
        # The table of trials shows what the search saw of them: never test data.
        "metrics": shared["metrics"] | {"verdict": first.metric},
        "directions": shared["directions"] | {each.metric: each.mode for each in sweep.objectives},
        "objectives": rules["objectives"],
        "constraints": rules["constraints"],
        "seed_rules": rules["seeds"],
        "sampler": rules["sampler"],
        "pruner": rules["pruner"],
        "budget": to_plain(keys.budget),
        "storage": keys.storage,
        "finally": None if sweep.final is None else to_plain(sweep.final),
        "recipe": _recipe(prepared),
        "variants": [_variant(prepared, each) for each in prepared.variants],
        "rows": [],
        "runs": [],
    }


def _variant(prepared: PreparedSweep, variant: Variant) -> dict[str, Any]:
    cell = variant.cell
    row = cell.row
    against = variant if row.baseline else None if row.compare_to is None else prepared.variants[row.compare_to]
    return {
        "label": variant.label,
        "search": study_name(prepared.sweep.name, variant.label),
        "axes": {axis: value.label for axis, value in cell.row.values.items()},
        "settings": {path: given for value in cell.row.values.values() for path, given in value.settings.items()},
        "config": cell.row.config,
        "cell": cell.id,
        "compare_to": None if against is None else against.label,
        "space": {each.path: each.to_json() for each in variant.space},
        "start_from": [dict(point) for point in variant.start_points],
        "remarks": list(variant.remarks),
        "steps": cell.steps,
        "eval_every": cell.config["train"]["eval_every"],
        "cost": {
            "params": sum(cell.cost.params.values()),
            "trained_params": cell.cost.trained_params,
            "flops_forward": cell.cost.flops_forward,
            "flops": cell.cost.flops_training * cell.config["train"]["batch"] * cell.steps,
        },
    }


def _recipe(prepared: PreparedSweep) -> dict[str, Any]:
    """Return what the ablation of the winners takes over from the sweep's file, with absolute paths."""
    keys, folder = prepared.sweep.study.keys, prepared.sweep.path.resolve().parent
    return {
        "set": keys.set,
        "init_from": absolute_start(keys.init_from, folder),
        "metrics": {key: value for key, value in asdict(keys.metrics).items() if value is not None},
        "report": asdict(keys.report),
        "launcher": None if keys.launcher == "local" else keys.launcher,
        "resources": {key: value for key, value in asdict(keys.resources).items() if value is not None},
        "plugins": list(keys.plugins),
        "plugin_folder": str(folder),
        "tracking": plain_tracking(prepared.sweep.study.trackers),
    }


def plan_left(prepared: PreparedSweep, searches: Sequence[StoredSearch], store: Store) -> studies.Plan:
    """Return as many runs as are left at most, each as its variant is without a search; their seeds only number them.

    Counted are all trials that have not ended, none of them pruned, one winner of each variant with its most seeds,
    unless the winners' study is in the store, and the runs that these start from.
    """
    sweep, final = prepared.sweep, prepared.sweep.final
    fresh: Sequence[int] = ()
    if final is not None and final_name(sweep.name) not in store.study_names():
        fresh = parse_seeds(final.study_seeds)[0]
    runs: dict[str, studies.Run] = {}
    for variant, search in zip(prepared.variants, searches, strict=True):
        left = search.status.left
        own = [studies.Run(variant.cell, number) for number in range(sweep.seeds.n * left + len(fresh))]
        runs |= {run.id: run for run in own}
        for seed in (*range(sweep.seeds.n if left else 0), *fresh):
            above = studies.Run(variant.cell, seed).parent
            while above is not None and store.state(above.id) != "done":
                runs[above.id] = above
                above = above.parent
    return replace(prepared.as_plan, runs=tuple(runs.values()))


def add_trial(plan: dict[str, Any], trial: TrialRuns) -> bool:
    """Add a trial's runs to a sweep's plan; return whether that changed it."""
    rows, runs = {row["cell"] for row in plan["rows"]}, {run["id"] for run in plan["runs"]}
    fresh = [dict(run) for run in trial.runs if run["id"] not in runs]
    plan["runs"] += fresh
    if trial.cell.id not in rows:
        plan["rows"].append(dict(trial.row))
    return bool(fresh) or trial.cell.id not in rows


def with_stored_trials(store: Store, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan with the trials of the stored one, if that is of a sweep and whole."""
    stored = _stored_plan(store, plan["study"])
    return dict(plan) if stored is None else {**plan, "rows": stored["rows"], "runs": stored["runs"]}


def _stored_plan(store: Store, name: str) -> dict[str, Any] | None:
    """Return the stored plan of a sweep; None if there is none, it is damaged, or that of a study."""
    if name not in store.study_names():
        return None
    try:
        stored = store.plan(name)
    except UserError:  # damaged
        return None
    return stored if is_sweep(stored) else None


def lost_trials(
    prepared: PreparedSweep, searches: Sequence[StoredSearch], plan: Mapping[str, Any]
) -> Iterator[TrialRuns]:
    """Yield the trials of the searches that a plan lacks, as its file was lost, damaged or replaced."""
    known = {row["cell"] for row in plan["rows"]}
    for variant, search in zip(prepared.variants, searches, strict=True):
        for trial in search.trials:
            cell = trial.user_attrs.get(CELL)
            if cell is not None and cell not in known:
                made = trial_runs(prepared, variant, trial.number, search.params(trial))
                if made.cell.id == cell:  # not if its code has a new version since
                    yield made


def store_plan(prepared: PreparedSweep, storage: SweepStorage, store: Store) -> PlanFile:
    """Store the plan of a sweep with all trials of its searches. Call it within `SweepStorage.exclusive`."""
    stored = PlanFile(store, to_json(prepared))
    stored.add(*lost_trials(prepared, load_searches(storage, stored.plan), stored.plan))
    return stored


class PlanFile:
    """The stored plan, to which several launchers add trials, each within `SweepStorage.exclusive`.

    The launcher that began last has set budgets and variants: others add to what is stored.

    Args:
        store: the run store.
        plan: the plan without trials.

    """

    def __init__(self, store: Store, plan: Mapping[str, Any]) -> None:
        self.store = store
        self.plan = with_stored_trials(store, plan)
        self._write()

    def add(self, *trials: TrialRuns) -> None:
        """Add the runs of trials."""
        if self._version() != self._last_version:
            self.plan = _stored_plan(self.store, self.plan["study"]) or self.plan
        if sum(add_trial(self.plan, trial) for trial in trials):
            self._write()

    def _write(self) -> None:
        self.store.write_plan(self.plan["study"], self.plan)
        self._last_version = self._version()

    def _version(self) -> tuple[int, int]:
        stat = (self.store.study(self.plan["study"]) / "plan.json").stat()
        return stat.st_ino, stat.st_mtime_ns
