"""The state of a launch in memory: its jobs, and the interfaces of what shows and what extends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from mtlab.files import modified_ns
from mtlab.launch.exit_status import RunFailure
from mtlab.runs.store import Store

JobState = Literal[
    "queued", "pending", "running", "elsewhere", "done", "paused", "failed", "blocked", "skipped", "stopped"
]
ORDER: tuple[JobState, ...] = (
    "done",
    "running",
    "elsewhere",
    "pending",
    "queued",
    "paused",
    "failed",
    "blocked",
    "skipped",
    "stopped",
)
LOST: tuple[JobState, ...] = ("failed", "blocked", "skipped")  #: what starts from such a run waits in vain
WAITING: frozenset[JobState] = frozenset({"queued", "pending", "running", "elsewhere"})


@dataclass
class LaunchedRun:
    """A run of the plan, and the launcher's state of it."""

    id: str
    cell: str
    seed: int
    label: str
    parents: tuple[str, ...]
    directory: Path
    steps: int  #: optimiser steps in all
    cost: float  #: FLOPs of the whole run; steps where they are unknown
    state: JobState = "queued"
    attempt: int = 0  #: number of the attempt, by this launcher
    kills: int = 0  #: attempts that were killed
    last_checkpoint: int | None = None  #: when it was written before this attempt, in ns; None: none
    started_at: float = 0.0  #: start of the last attempt, on the monotonic clock
    timed_out: bool = False  #: was it asked to stop because it reached its time limit?
    pause_requested: bool = False  #: was it asked to stop because no more of it is needed?
    wanted_again: bool = False  #: is it needed again since then?
    kill_at: float | None = None  #: when it is killed after being asked to stop, on the monotonic clock
    failure: RunFailure | None = None
    note: str = ""  #: why it is in this state
    failed_at: int | None = None  #: when the `failure.json` of an earlier attempt was written, in ns; None: none

    @property
    def name(self) -> str:
        """Its name in lines for the user."""
        return f"{self.label} seed {self.seed}"

    def new_failure(self, store: Store) -> Mapping[str, Any] | None:
        """Return its `failure.json` if it was written after the launch began, and after the last call."""
        before, self.failed_at = self.failed_at, modified_ns(self.directory / "failure.json")
        return None if self.failed_at in (None, before) else store.failure(self.id)


@dataclass
class Board:
    """All jobs of a launch, in plan order."""

    study: str
    metric: str  #: the one that chooses checkpoints
    jobs: dict[str, LaunchedRun]
    workers: int
    message: str = ""  #: on the study as a whole: "stopping", …
    note: str = ""  #: what was found on the way, for the views
    halted: bool = False  #: no further runs are started
    counts: Counter[JobState] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.recount()

    def recount(self) -> None:
        """Count the jobs by state."""
        self.counts = Counter(job.state for job in self.jobs.values())

    def in_state(self, *states: JobState) -> list[LaunchedRun]:
        """Return the jobs in one of `states`, in plan order."""
        return [job for job in self.jobs.values() if job.state in states]

    def failed_first(self, job: LaunchedRun) -> LaunchedRun:
        """Return the run whose failure a run waits for in vain: the nearest that it starts from, or itself."""
        while job.failure is None:
            above = [self.jobs[run] for run in job.parents if run in self.jobs]
            lost = [each for each in above if each.state in LOST]
            if not lost:
                break
            job = lost[0]
        return job


@dataclass(frozen=True)
class RunChanges:
    """Changes to the runs of a launch: see `RunSource`."""

    #: further runs: entry of `plan.json`, `config.json`
    add: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = ()
    pause: Sequence[str] = ()  #: runs to be stopped with a checkpoint
    open: bool = False  #: more changes may follow


class RunSource(Protocol):
    """Adds runs to a launch: the next trial of a sweep depends on the results of earlier ones."""

    def poll(self, board: Board) -> RunChanges:
        """Return the changes; called several times a second, and whenever a run ends."""


class NoRunSource:
    """Adds no runs to those of the plan."""

    def poll(self, board: Board) -> RunChanges:  # noqa: ARG002 - the protocol's
        """Return no changes."""
        return RunChanges()


class LaunchView(Protocol):
    """Shows a launch to the user: entered once, called at every change of state, and several times a second."""

    def __enter__(self) -> LaunchView: ...

    def __exit__(self, *_: object) -> None: ...

    def changed(self, job: LaunchedRun) -> None:
        """Show that the state of `job` has changed."""

    def update(self, board: Board) -> None:
        """Show the board; called about four times a second."""


class SilentView:
    """A view that shows nothing."""

    def __enter__(self) -> SilentView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def changed(self, job: LaunchedRun) -> None:
        """Show nothing."""

    def update(self, board: Board) -> None:
        """Show nothing."""


def make_board(store: Store, plan: Mapping[str, Any], workers: int) -> Board:
    """Make the board of a plan (`plan.json`): finished runs are done, all others queued."""
    runs: Sequence[Mapping[str, Any]] = plan["runs"]
    jobs = {run["id"]: make_job(store, run) for run in runs}
    return Board(plan["study"], plan["metrics"]["choose"], jobs, workers)


def make_job(store: Store, run: Mapping[str, Any]) -> LaunchedRun:
    """Make the job of one run, an entry of `plan.json`."""
    estimate, directory = run.get("cost") or {}, store.run(run["id"])
    steps = int(estimate.get("steps") or 1)
    return LaunchedRun(
        id=run["id"],
        cell=run["cell"],
        seed=run["seed"],
        label=run["label"],
        parents=tuple(run["parents"]),
        directory=directory,
        steps=steps,
        cost=float(estimate.get("flops") or steps),
        state="done" if (directory / "result.json").exists() else "queued",
        failed_at=modified_ns(directory / "failure.json"),
    )
