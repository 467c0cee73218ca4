"""The state of studies and runs as lists and heads of pages show it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.dashboard.cached_store import CachedStore
from mtlab.errors import UserError
from mtlab.launch.exit_status import RunFailure
from mtlab.launch.slurm.queue import JobId
from mtlab.launch.status import RunCondition, RunStatus, run_status

DAMAGED = "damaged"
CONDITION_ORDER = ("done", "running", "queued", "pruned", "interrupted", "new", "failed", "blocked", DAMAGED)


@dataclass(frozen=True)
class RunSummary:
    """The state of one run of a study."""

    id: str
    cell: str
    seed: int
    label: str
    condition: str  #: see `mtlab.launch.status.RunCondition`, or `DAMAGED`
    step: int
    steps: int
    metric: float | None  #: best value of the choosing metric so far
    attempt: int | None
    host: str | None
    problem: str | None  #: why it failed, was cut off or cannot be read
    changed: float | None  #: when it last wrote something, in seconds since 1970
    job: JobId | None = None  #: the job that waits in a cluster's queue

    @property
    def title(self) -> str:
        """Variant and seed."""
        return f"{self.label}, seed {self.seed}"

    @property
    def state(self) -> tuple[Any, ...]:
        """All that pages show of the run but times: a page is drawn again when it changes."""
        progress = self.condition, self.step, self.steps, self.metric, self.attempt, self.problem, self.job
        return self.id, self.label, *progress


@dataclass(frozen=True)
class StudySummary:
    """The state of a study."""

    name: str
    why: str
    metric: str  #: that chooses checkpoints
    runs: tuple[RunSummary, ...]
    changed: float | None
    problem: str | None = None  #: why the study cannot be read
    sweep: bool = False  #: it searches, rather than compares
    command: str = ""  #: that starts or resumes it

    @property
    def counts(self) -> dict[str, int]:
        """Runs by condition, without conditions that no run is in."""
        counts = Counter(run.condition for run in self.runs)
        return {name: counts[name] for name in CONDITION_ORDER if counts[name]}

    @property
    def progress(self) -> float:
        """Share of all steps that have been made; what a search pruned needs no more."""
        total = sum(run.steps for run in self.runs)
        ended = ("done", "pruned")
        made = sum(run.steps if run.condition in ended else min(run.step, run.steps) for run in self.runs)
        return made / total if total else float(bool(self.runs) and all(run.condition == "done" for run in self.runs))

    @property
    def state(self) -> int:
        """A hash of all that pages show of the study."""
        return hash((self.name, self.why, self.problem, tuple(run.state for run in self.runs)))


@dataclass(frozen=True)
class OrphanRun:
    """A folder among the runs that belongs to no study."""

    name: str
    summary: RunSummary | None  #: None if it is no run


def summarize_run(
    store: CachedStore,
    plan: Mapping[str, Any],
    run: Mapping[str, Any],
    states: Mapping[str, RunCondition],
    end: RunFailure | None,
    job: JobId | None = None,
) -> RunSummary:
    """Summarize a run, see `run_status`; a run with unusable files is `DAMAGED`, and nothing is raised."""
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
