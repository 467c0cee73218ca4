"""The status of studies, read from stored plans and run directories: fast, and safe while runs are executed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtlab.errors import UserError
from mtlab.files import read_jsonl, read_jsonl_from
from mtlab.launch.exit_status import RunFailure
from mtlab.launch.slurm.pending import QueueCache, submitted_jobs
from mtlab.launch.slurm.queue import JobId
from mtlab.runs.find_run import labels_by_cell
from mtlab.runs.results import numeric_rows
from mtlab.runs.shell_command import shell_command, sweep_command
from mtlab.runs.store import State, Store, final_name, find_blocked, is_sweep, metric_direction
from mtlab.studies.looks import ENDED_BY, Ended, read_looks
from mtlab.units import format_metric, format_span

if TYPE_CHECKING:
    from rich.table import Table

TAIL = 2**20  #: bytes at the end of `metrics.jsonl` that are read of an unfinished run: thousands of lines

#: `queued`: a job of it waits in a cluster's queue; `pruned`: a sweep needs it no more, as its trial has ended
RunCondition = State | Literal["queued", "pruned"]
ORDER: tuple[RunCondition, ...] = ("done", "running", "queued", "pruned", "interrupted", "new", "failed", "blocked")
STYLES: Mapping[RunCondition, str] = {
    "done": "green",
    "running": "cyan",
    "queued": "blue",
    "interrupted": "yellow",
    "pruned": "dim",
    "new": "dim",
    "failed": "red",
    "blocked": "magenta",
}


@dataclass(frozen=True)
class RunStatus:
    """The status of one run."""

    id: str
    cell: str
    seed: int
    label: str
    state: RunCondition
    attempt: int | None  #: number of its last attempt
    step: int
    steps: int
    metric: float | None  #: best value of the choosing metric so far
    host: str | None
    age: float | None  #: seconds since its worker last wrote something, by this host's clock
    problem: str | None  #: why it failed or is blocked, in one line
    job: JobId | None = None  #: its job in the queue
    damaged: bool = False  #: are files of it damaged? See `problem`

    def to_json(self) -> dict[str, Any]:
        """As plain data with stable keys."""
        plain = asdict(self)
        age = plain.pop("age")
        return plain | {"age_seconds": None if age is None else round(age, 1)}


@dataclass(frozen=True)
class ComparisonStatus:
    """How far one comparison of a study with seeds until decided is."""

    label: str
    compare_to: str  #: label
    looks: int  #: that were taken
    n: int  #: seeds at the last of them
    ended: Ended | None

    def __str__(self) -> str:
        """Describe it in a few words."""
        against = f"{self.label} against {self.compare_to}"
        if not self.looks:
            return f"{against}: no look yet"
        state = "goes on" if self.ended is None else f"ended by {ENDED_BY[self.ended]}"
        return f"{against}: {state} (look {self.looks}, at {self.n} seeds)"


@dataclass(frozen=True)
class LooksStatus:
    """How far a study with seeds until decided is."""

    most: int  #: seeds
    comparisons: tuple[ComparisonStatus, ...]

    def __str__(self) -> str:
        """Describe it in a line."""
        ended = sum(each.ended is not None for each in self.comparisons)
        seeds = max((each.n for each in self.comparisons), default=0)
        return f"{ended} of {len(self.comparisons)} comparisons ended, at {seeds} of at most {self.most} seeds"

    def to_json(self) -> dict[str, Any]:
        """As plain data with stable keys."""
        return asdict(self)


@dataclass(frozen=True)
class StudyStatus:
    """The status of a study."""

    study: str
    metric: str  #: the one that chooses checkpoints
    runs: tuple[RunStatus, ...]
    store: Store  #: where it lies, for commands to run next
    looks: LooksStatus | None = None  #: where it has as many seeds as it needs
    sweep: bool = False
    final: str | None = None  #: the study of a sweep's winners, once there is one

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs by state, without zeros."""
        counts = Counter(run.state for run in self.runs)
        return {state: counts[state] for state in ORDER if counts[state]}

    @property
    def cells(self) -> dict[str, list[RunStatus]]:
        """Runs by cell, in plan order."""
        cells: dict[str, list[RunStatus]] = {}
        for run in self.runs:
            cells.setdefault(run.cell, []).append(run)
        return cells

    def to_json(self) -> dict[str, Any]:
        """As plain data with stable keys."""
        return {
            "study": self.study,
            "metric": self.metric,
            "counts": self.counts,
            "looks": None if self.looks is None else self.looks.to_json(),
            "runs": [run.to_json() for run in self.runs],
        }

    @property
    def trials(self) -> dict[str, int]:
        """Trials of a sweep by state; those with the same settings, which are one cell, count once."""
        found: Counter[str] = Counter()
        for runs in self.cells.values():
            states = {run.state for run in runs}
            ended = next((state for state in ("failed", "pruned") if state in states), None)
            found[ended or ("done" if states == {"done"} else "running" if "running" in states else "waiting")] += 1
        return {state: found[state] for state in ("done", "pruned", "failed", "running", "waiting") if found[state]}

    def summary(self) -> str:
        """One line: the study and its counts."""
        command = partial(shell_command, store=self.store)
        if self.sweep and not self.runs:
            begin = sweep_command(self.store.plan(self.study), self.store)
            return f"{self.study}: sweep, planned: `{begin}` begins it"
        if self.sweep:
            trials = ", ".join(f"{count} {state}" for state, count in self.trials.items())
            again = command("sweep", "status", self.study)
            final = f"; winners: {self.final}" if self.final else ""
            return f"{self.study}: sweep, {len(self.cells)} trials, {trials} (`{again}`){final}"
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        looks = "" if self.looks is None else f"; {self.looks}"
        damaged = sum(run.damaged for run in self.runs)
        note = f"; {damaged} with damaged files: `{command('status', self.study)}`" if damaged else ""
        number = f"{format_span([len(self.runs)], 'run')}"
        return f"{self.study}: {number}, {counts}{looks}{note}" if self.runs else f"{self.study}: no runs"

    def table(self) -> Table:
        """As a table for the terminal: a line per cell, a word per seed."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        seeds = sorted({run.seed for run in self.runs})
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
        table.add_column("variant", style="cyan", overflow="fold")
        for seed in seeds:
            table.add_column(f"s{seed}")
        table.add_column(f"best {self.metric}", justify="right", no_wrap=True)
        for runs in self.cells.values():
            known = {run.seed: run for run in runs}
            words = [
                Text(_word(known[seed]), style=STYLES[known[seed].state]) if seed in known else Text("")
                for seed in seeds
            ]
            values = [run.metric for run in runs if run.metric is not None]
            mean = f"{format_metric(sum(values) / len(values), self.metric)} (n = {len(values)})" if values else "–"
            table.add_row(Text(runs[0].label), *words, mean)
        return table

    def problems(self) -> list[str]:
        """A line for each run that failed, was killed, is blocked, or has damaged files."""
        return [f"{run.label} seed {run.seed} ({run.id}): {run.problem}" for run in self.runs if run.problem]


def study_statuses(store: Store, names: Sequence[str]) -> list[StudyStatus]:
    """Return the status of studies, with one query of a cluster's queue for all of them.

    Raises:
        UserError: no such study.

    """
    plans = [store.plan(name) for name in names]
    conditions = run_conditions(store, plans, QueueCache())
    return [_status(store, name, plan, *each) for name, plan, each in zip(names, plans, conditions, strict=True)]


def run_conditions(
    store: Store, plans: Sequence[Mapping[str, Any]], queue: QueueCache
) -> list[tuple[dict[str, RunCondition], dict[str, JobId]]]:
    """Return, for each plan, the condition of every run, and the jobs of those that wait in the queue."""
    states_of = [{run["id"]: store.state(run["id"]) for run in plan["runs"]} for plan in plans]
    jobs = [submitted_jobs(store, states) for states in states_of]
    waiting = queue.pending(job for each in jobs for job in each.values())
    conditions = []
    for plan, states, each in zip(plans, states_of, jobs, strict=True):
        queued = {run: job for run, job in each.items() if job in waiting}
        known: dict[str, RunCondition] = {**states, **dict.fromkeys(queued, "queued")}
        if is_sweep(plan):
            known |= dict.fromkeys(_paused(store, plan["study"], known), "pruned")
        conditions.append((known | dict.fromkeys(find_blocked(plan, known), "blocked"), queued))
    return conditions


def _status(
    store: Store, name: str, plan: Mapping[str, Any], states: Mapping[str, RunCondition], jobs: Mapping[str, JobId]
) -> StudyStatus:
    killed = last_ends(store, name)
    runs = [run_status(store, plan, run, states, killed.get(run["id"]), jobs.get(run["id"])) for run in plan["runs"]]
    final, sweep = final_name(name), is_sweep(plan)
    planned = final if sweep and (store.study(final) / "plan.json").is_file() else None
    return StudyStatus(name, plan["metrics"]["choose"], tuple(runs), store, _looks_status(store, plan), sweep, planned)


def _looks_status(store: Store, plan: Mapping[str, Any]) -> LooksStatus | None:
    looks = read_looks(store, plan)
    if looks is None:
        return None
    labels = labels_by_cell(plan)
    comparisons = []
    for pair in looks.pairs:
        tests = looks.tests(pair)
        n, ended = (tests[-1].n, tests[-1].ended) if tests else (0, None)
        comparisons.append(ComparisonStatus(labels[pair[0]], labels[pair[1]], len(tests), n, ended))
    return LooksStatus(looks.numbers[-1], tuple(comparisons))


def run_status(
    store: Store,
    plan: Mapping[str, Any],
    run: Mapping[str, Any],
    states: Mapping[str, RunCondition],
    killed: RunFailure | None,
    job: JobId | None = None,
) -> RunStatus:
    """Return the status of one run of a plan.

    Args:
        store: the run store.
        plan: the stored plan.
        run: its entry there.
        states: of all runs of the plan, see `run_conditions`.
        killed: why the launcher recorded its last attempt as failed, see `last_ends`.
        job: number of its job in the queue.

    """
    state, written = states[run["id"]], {}
    choose = plan["metrics"]["choose"]
    best = max if metric_direction(plan, choose) == "max" else min
    if state != "new":
        written = store.run_state(run["id"]) or {}
    step, metric = _progress(store, run["id"], state, choose, best)
    damage = store.damage(run["id"]) if state in ("done", "failed", "interrupted") else None
    return RunStatus(
        id=run["id"],
        cell=run["cell"],
        seed=run["seed"],
        label=run["label"],
        state=state,
        attempt=written.get("attempt"),
        step=step,
        steps=int((run.get("cost") or {}).get("steps") or 0),
        metric=metric,
        host=written.get("host"),
        age=_age(store.run(run["id"]), time.time()) if state != "new" else None,
        problem=damage or _problem(store, run, states, killed),
        job=job,
        damaged=damage is not None,
    )


def _paused(store: Store, name: str, states: Mapping[str, RunCondition]) -> set[str]:
    """Return the runs of a sweep that are stopped, or never begun, as their trial was pruned or has failed."""
    last: dict[str, Any] = {}
    events = ("start", "paused", "pruned", "queued", "failed")
    for event in read_jsonl(store.study(name) / "launch.jsonl"):
        if isinstance(run := event.get("run"), str) and event.get("event") in events:
            last[run] = event["event"]
    stopped = {run for run, event in last.items() if event in ("paused", "pruned")}
    return {run for run in stopped if states.get(run) in ("interrupted", "new")}


def last_ends(store: Store, name: str) -> dict[str, RunFailure]:
    """Return, by run, why the launcher recorded the last attempt as failed: a killed worker writes no failure."""
    reasons: dict[str, RunFailure] = {}
    for event in read_jsonl(store.study(name) / "launch.jsonl"):
        run = event.get("run")
        if not isinstance(run, str):
            continue
        if event.get("event") == "start":
            reasons.pop(run, None)
        elif event.get("event") == "failed":
            reasons[run] = RunFailure.from_json({"kind": event.get("kind"), "error": event.get("why", "")})
    return reasons


def _word(run: RunStatus) -> str:
    """Return a run's state in a word, with its progress if it has begun."""
    if run.job is not None:
        return f"{run.state} (job {run.job})"
    if run.state not in ("running", "interrupted") or not run.steps:
        return run.state
    share = f"{100 * run.step // run.steps}%"
    return share if run.state == "running" else f"stopped {share}"


def _progress(store: Store, run: str, state: RunCondition, choose: str, best: Any) -> tuple[int, float | None]:
    """Return the last step and the best value so far; of runs with a very long log, the best of recent steps."""
    if state == "done":
        try:
            result = store.result(run)
        except UserError:  # damaged, which `problem` tells
            result = None
        return (int(result["steps"]), result["metrics"].get(choose)) if result is not None else (0, None)
    if state == "new":
        return 0, None
    path = store.run(run) / "metrics.jsonl"
    size = path.stat().st_size if path.exists() else 0
    rows = read_jsonl_from(path, max(0, size - TAIL))[0]
    last = max((row["step"] for row in numeric_rows(rows[-1:])), default=0)
    values = [row[choose] for row in numeric_rows(row for row in rows if choose in row) if choose in row]
    return last, best(values) if values else None


def _age(directory: Path, now: float) -> float | None:
    ages = []
    for name in ("result.json", "lock.json", "metrics.jsonl", "failure.json", "state.json"):
        try:
            ages.append(now - (directory / name).stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(0.0, min(ages)) if ages else None


def _problem(
    store: Store, run: Mapping[str, Any], states: Mapping[str, RunCondition], killed: RunFailure | None
) -> str | None:
    state = states[run["id"]]
    if state == "failed":
        written = store.failure(run["id"])
        if written is None:  # a new attempt has begun since
            return None
        failure = RunFailure.from_json(written)
        return f"{failure}; {failure.advice}"
    if state == "blocked":
        waiting: Sequence[str] = [parent for parent in run["parents"] if states.get(parent) in ("failed", "blocked")]
        return f"waits for {', '.join(waiting)}"
    if state in ("new", "interrupted") and killed is not None:
        return f"{killed}; {killed.advice}"
    return None
