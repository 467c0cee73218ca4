"""How studies and runs stand, for people: what lists and heads of pages show."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.dashboard.cached_store import CachedStore
from mtlab.errors import UserError
from mtlab.launch.status import RunCondition, RunStatus, run_status

DAMAGED = "damaged"
ORDER = ("done", "running", "queued", "interrupted", "new", "failed", "blocked", DAMAGED)  #: of conditions


@dataclass(frozen=True)
class RunSummary:
    """How one run of a study stands, for people."""

    id: str
    cell: str
    seed: int
    label: str
    condition: str  #: see `mtlab.launch.status.Condition`, or `DAMAGED`
    step: int
    steps: int
    metric: float | None  #: best value of the choosing metric so far
    attempt: int | None
    host: str | None
    problem: str | None  #: why it failed, stands still or cannot be read
    changed: float | None  #: when it last wrote something, in seconds since 1970
    job: int | None = None  #: number of the job that waits in a cluster's queue

    @property
    def content(self) -> tuple[Any, ...]:
        """What makes a page about it worth drawing again: all but the time."""
        told = self.id, self.label, self.condition, self.step, self.steps, self.metric, self.attempt, self.problem
        return *told, self.job


@dataclass(frozen=True)
class StudySummary:
    """How a study stands."""

    name: str
    why: str
    metric: str  #: that chooses checkpoints
    runs: tuple[RunSummary, ...]
    changed: float | None
    problem: str | None = None  #: why nothing can be said of it
    sweep: bool = False  #: does it search, rather than compare?
    file: str = ""  #: that it was planned from

    @property
    def command(self) -> str:
        """What goes on with it."""
        return f"mtlab {'sweep' if self.sweep else 'run'} {self.file or self.name}"

    @property
    def counts(self) -> dict[str, int]:
        """Runs by condition; those that occur."""
        counts = Counter(run.condition for run in self.runs)
        return {name: counts[name] for name in ORDER if counts[name]}

    @property
    def progress(self) -> float:
        """Share of all steps that were made."""
        total = sum(run.steps for run in self.runs)
        made = sum(run.steps if run.condition == "done" else min(run.step, run.steps) for run in self.runs)
        return made / total if total else float(bool(self.runs) and all(run.condition == "done" for run in self.runs))

    @property
    def content(self) -> int:
        """A number that changes with anything that a page shows of it."""
        return hash((self.name, self.why, self.problem, tuple(run.content for run in self.runs)))


@dataclass(frozen=True)
class OrphanRun:
    """What lies among the runs without belonging to a study."""

    name: str
    card: RunSummary | None  #: None if it is no run


def summarize_run(
    store: CachedStore,
    plan: Mapping[str, Any],
    run: Mapping[str, Any],
    states: Mapping[str, RunCondition],
    end: str | None,
    job: int | None = None,
) -> RunSummary:
    """Tell how a run stands, see `run_status`; one whose files cannot be used is damaged, and nothing is raised."""
    state = states[run["id"]]
    damage = store.damage(run["id"]) if state != "new" or store.run(run["id"]).is_dir() else None
    try:
        status = run_status(store, plan, run, states, end, job)
    except (UserError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        damage = damage or f"cannot be read: {type(error).__name__}: {error}"
        status = RunStatus(run["id"], run["cell"], run["seed"], run["label"], state, None, 0, 0, None, None, None, None)
    return RunSummary(
        id=run["id"],
        cell=run["cell"],
        seed=int(run["seed"]),
        label=run["label"],
        condition=DAMAGED if damage else state,
        step=status.step,
        steps=status.steps,
        metric=status.metric,
        attempt=status.attempt,
        host=status.host,
        problem=damage or status.problem,
        changed=None if status.age is None else time.time() - status.age,
        job=status.job,
    )
