"""The state of a launch in memory: its jobs, and what a view is told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

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
WAITING: frozenset[JobState] = frozenset({"queued", "pending", "running", "elsewhere"})


@dataclass
class Job:
    """A run of the plan, as the launcher sees it."""

    id: str
    cell: str
    seed: int
    label: str
    parents: tuple[str, ...]
    directory: Path
    steps: int  #: optimiser steps in all
    work: float  #: what it costs, in whatever unit the plan has for all runs
    state: JobState = "queued"
    attempt: int = 0  #: starts by this launcher
    losses: int = 0  #: attempts that were killed
    begun: int | None = None  #: when its last checkpoint of before this attempt was written, in ns; None: none
    started: float = 0.0  #: when its last attempt began, on the monotonic clock
    overdue: bool = False  #: was it asked to stop because its time was up?
    unwanted: bool = False  #: was it asked to stop because nobody needs more of it? Its state is kept
    deadline: float | None = None  #: when it is killed, having been asked to stop, on the monotonic clock
    failure: RunFailure | None = None
    note: str = ""  #: why it is in this state, in a few words
    before: Mapping[str, Any] | None = None  #: the `failure.json` of an earlier launch

    @property
    def name(self) -> str:
        """As it is called in lines for the user."""
        return f"{self.label} seed {self.seed}"


@dataclass
class Board:
    """All jobs of a launch, in plan order."""

    study: str
    metric: str  #: the one that chooses checkpoints
    jobs: dict[str, Job]
    workers: int
    message: str = ""  #: what goes on with the study as a whole: "stopping", …
    halted: bool = False  #: is nothing more to be started?
    counts: Counter[JobState] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.recount()

    def recount(self) -> None:
        """Count the jobs by state."""
        self.counts = Counter(job.state for job in self.jobs.values())

    def among(self, *states: JobState) -> list[Job]:
        """Return the jobs in one of `states`, in plan order."""
        return [job for job in self.jobs.values() if job.state in states]


@dataclass(frozen=True)
class RunChanges:
    """What is to change in a launch: see `RunSource`."""

    add: Sequence[
        tuple[Mapping[str, Any], Mapping[str, Any]]
    ] = ()  #: further runs: entry of `plan.json`, `config.json`
    pause: Sequence[str] = ()  #: runs that need not go on; their state is kept
    open: bool = False  #: may there be more to come?


class RunSource(Protocol):
    """Where runs come from beside the plan: what a sweep asks for next depends on what came of the last."""

    def poll(self, board: Board) -> RunChanges:
        """Say what is to change; called several times a second, and whenever a run ends."""


class NoRunSource:
    """A feed of nothing: the plan says it all."""

    def poll(self, board: Board) -> RunChanges:  # noqa: ARG002 - the protocol's
        """Change nothing."""
        return RunChanges()


class LaunchView(Protocol):
    """What shows a launch to the user: entered once, told of every change, and updated several times a second."""

    def __enter__(self) -> LaunchView: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def changed(self, job: Job) -> None:
        """Take note that `job` has come into another state."""

    def update(self, board: Board) -> None:
        """Show the board; called about four times a second."""


class SilentView:
    """A view that shows nothing."""

    def __enter__(self) -> SilentView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def changed(self, job: Job) -> None:
        """Show nothing."""

    def update(self, board: Board) -> None:
        """Show nothing."""


def make_board(store: Store, plan: Mapping[str, Any], workers: int) -> Board:
    """Make the board of a plan (`plan.json`): finished runs are done, all others are queued."""
    runs: Sequence[Mapping[str, Any]] = plan["runs"]
    jobs = {run["id"]: make_job(store, run) for run in runs}
    return Board(plan["study"], plan["metrics"]["choose"], jobs, workers)


def make_job(store: Store, run: Mapping[str, Any]) -> Job:
    """Make the job of one run, an entry of `plan.json`."""
    cost, directory = run.get("cost") or {}, store.run(run["id"])
    steps = int(cost.get("steps") or 1)
    return Job(
        id=run["id"],
        cell=run["cell"],
        seed=run["seed"],
        label=run["label"],
        parents=tuple(run["parents"]),
        directory=directory,
        steps=steps,
        work=float(cost.get("flops") or steps),
        state="done" if (directory / "result.json").exists() else "queued",
        before=store.failure(run["id"]),
    )
