"""The report of a sweep: the best trials of each variant's search, and the tuned variants on test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlab.files import json_text
from mtlab.report import study_report as reports
from mtlab.runs.store import Store, final_name
from mtlab.studies.axes import plain_label
from mtlab.sweeps.spec import Objective
from mtlab.sweeps.status import CELL, PROBLEM, VALUES
from mtlab.sweeps.stored import StoredSearch, random_alone
from mtlab.sweeps.winners import winners

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlab.report.study_report import StudyReport

FORMAT = 1


@dataclass(frozen=True)
class BestTrial:
    """A best trial of a search, or one on its Pareto front."""

    number: int
    cell: str
    values: tuple[float, ...]  #: one per objective
    seeds: Mapping[int, tuple[float, ...]]  #: seed → one per objective
    params: Mapping[str, Any]

    @property
    def settings(self) -> str:
        """Its parameters in one line."""
        return format_settings(self.params)


@dataclass(frozen=True)
class SweepVariant:
    """The search of one variant."""

    label: str
    baseline: bool
    counts: Mapping[str, int]  #: state → trials
    ended: int  #: trials of the budget that have ended
    seconds: float  #: training time of all trials
    best: BestTrial | None
    front: tuple[BestTrial, ...]  #: Pareto front, with several objectives
    problems: Mapping[str, int]  #: why trials failed → how many


@dataclass(frozen=True)
class SweepReport:
    """The results of a sweep as data."""

    study: str
    why: str
    objectives: tuple[Objective, ...]
    constraints: Mapping[str, Mapping[str, Any]]
    seeds: Mapping[str, Any]
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    budget: Mapping[str, Any]
    rows: tuple[SweepVariant, ...]
    final: StudyReport | None  #: the tuned variants on fresh seeds; None before that has begun
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with the stable keys of docs/json.md."""
        return {
            "format": FORMAT,
            "sweep": self.study,
            "why": self.why,
            "objectives": [{"metric": each.metric, "mode": each.mode} for each in self.objectives],
            "constraints": dict(self.constraints),
            "seeds": dict(self.seeds),
            "sampler": dict(self.sampler),
            "pruner": dict(self.pruner),
            "budget": dict(self.budget),
            "variants": [_row(row) for row in self.rows],
            "final": None if self.final is None else self.final.to_dict(),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """Return JSON text."""
        return json_text(self.to_dict())


def format_settings(params: Mapping[str, Any]) -> str:
    """Format parameters in one line, by the last part of their paths."""
    return ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in params.items())


def build_sweep_report(
    store: Store, plan: Mapping[str, Any], searches: Sequence[StoredSearch], *, final: bool = True
) -> SweepReport:
    """Build the report of a sweep, however far it is.

    Args:
        store: where its runs are.
        plan: its stored plan.
        searches: see `mtlab.sweeps.stored`.
        final: compare the winners, too.

    """
    rows = tuple(_variant(found) for found in searches)
    name = final_name(plan["study"])
    wanted = final and plan["finally"] and name in store.study_names()
    winners_report = reports.build_report(store, store.plan(name)) if wanted else None
    return SweepReport(
        study=plan["study"],
        why=plan["why"],
        objectives=tuple(Objective(**each) for each in plan["objectives"]),
        constraints=plan["constraints"],
        seeds=plan["seed_rules"],
        sampler=plan["sampler"],
        pruner=plan["pruner"],
        budget=plan["budget"],
        rows=rows,
        final=winners_report,
        notes=(*_notes(rows, searches, plan), *_stale(winners_report, searches, plan)),
    )


def describe_trial(found: StoredSearch, trial: FrozenTrial) -> BestTrial:
    """Describe a finished trial."""
    by_seed = trial.user_attrs.get(VALUES, {})
    return BestTrial(
        number=trial.number,
        cell=str(trial.user_attrs[CELL]),
        values=tuple(trial.values),
        seeds={int(seed): tuple(values) for seed, values in by_seed.items()},
        params=found.params(trial),
    )


def _variant(found: StoredSearch) -> SweepVariant:
    failed = [
        str((trial.user_attrs.get(PROBLEM) or {}).get("kind", "unknown"))
        for trial in found.trials
        if found.status.states[trial.number] == "failed"
    ]
    best = found.best
    return SweepVariant(
        label=found.label,
        baseline=found.label == found.variant["compare_to"],
        counts={str(word): count for word, count in found.status.counts.items()},
        ended=found.status.ended,
        seconds=found.status.seconds,
        best=None if best is None else describe_trial(found, best),
        front=tuple(describe_trial(found, trial) for trial in found.front) if len(found.objectives) > 1 else (),
        problems={kind: failed.count(kind) for kind in dict.fromkeys(failed)},
    )


def _notes(rows: Sequence[SweepVariant], searches: Sequence[StoredSearch], plan: Mapping[str, Any]) -> list[str]:
    notes = []
    ended = {row.ended for row in rows}
    if len(ended) > 1:
        listed = ", ".join(f"{row.label} {row.ended}" for row in rows)
        notes.append(f"the variants have not had the same number of trials yet: {listed}")
    for found in searches:
        if found.status.given_up:
            refused = found.status.counts.get("refused", 0)
            notes.append(f"{found.label}: given up after {refused} proposals that could not be trained (see status)")
        elif found.status.out_of_time and found.status.started < found.budget.trials:
            notes.append(
                f"{found.label}: its {found.budget.hours:g} training hours ended after {found.status.started} trials"
            )
    for row in rows:
        if row.problems:
            listed = ", ".join(f"{count} {kind}" for kind, count in row.problems.items())
            notes.append(f"{row.label}: trials that failed: {listed}")
    return [*notes, *random_alone(plan)]


def _stale(final: StudyReport | None, searches: Sequence[StoredSearch], plan: Mapping[str, Any]) -> list[str]:
    """Say if the tuned variants that were retrained are no longer the best ones."""
    if final is None or not all(found.front for found in searches):
        return []
    lead = {winner.cell for winner in winners(searches, plan["finally"]["retrain"])}
    if lead == {row.cell for row in final.rows}:
        return []
    return ["the searches have found something better since: `mtlab sweep` retrains it, the comparison is of before"]


def _row(row: SweepVariant) -> dict[str, Any]:
    return {
        "label": row.label,
        "baseline": row.baseline,
        "trials": dict(row.counts),
        "ended": row.ended,
        "seconds": row.seconds,
        "best": None if row.best is None else _best(row.best),
        "front": [_best(each) for each in row.front],
        "problems": dict(row.problems),
    }


def _best(best: BestTrial) -> dict[str, Any]:
    return {
        "trial": best.number,
        "cell": best.cell,
        "values": list(best.values),
        "seeds": {str(seed): list(values) for seed, values in best.seeds.items()},
        "params": dict(best.params),
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else plain_label(value)
