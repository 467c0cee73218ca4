"""The driver of a sweep: proposes trials as workers become free, follows their runs, and records their results.

It is a `RunSource` of the launcher, which starts, resumes, retries and stops the runs. The result of a trial depends on
its runs alone, never on whether the store had them already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.launch.board import LOST, Board, LaunchedRun, RunChanges
from mtlab.runs.store import Store
from mtlab.sweeps.search import Search
from mtlab.sweeps.status import EXTERNAL_FAILURES, SearchStatus
from mtlab.sweeps.trial_metrics import (
    LearningCurve,
    constraint_excess,
    describe_violations,
    reduce_over_seeds,
    select_metrics,
    visible_metrics,
)
from mtlab.sweeps.trials import TrialRuns, trial_runs

if TYPE_CHECKING:
    from mtlab.sweeps.search import ProposedTrial
    from mtlab.sweeps.storage.base import SweepStorage
    from mtlab.sweeps.variants import PreparedSweep

POLL = 2.0  #: seconds between reads of the storage while there are only other launchers to wait for
BURST = 50  #: trials of one poll that may end at once, as their runs are known, or their settings are refused


@dataclass
class RunningTrial:
    """A trial that this launcher works on."""

    search: Search
    proposed: ProposedTrial
    runs: TrialRuns
    curve: LearningCurve | None  #: of its first seed, where the pruner compares curves
    started: list[int] = field(default_factory=list)  #: seeds whose runs were given to the launcher
    reported_seeds: list[int] = field(default_factory=list)  #: where the pruner compares seeds
    first_seed_done: bool = False  #: and not pruned
    stopped_at: int = 0  #: step, or seed, at which it was pruned

    @property
    def name(self) -> str:
        """The trial's name in lines for the user."""
        return _trial_name(self.search, self.proposed)


@dataclass(frozen=True)
class TrialEvent:
    """Something that happened to a trial."""

    trial: str
    state: str  #: begun, done, pruned, failed, refused, left to another launcher
    text: str = ""
    value: float | None = None  #: of the first objective


@dataclass(eq=False)
class Driver:
    """Feeds a launch with the trials of a sweep."""

    prepared: PreparedSweep
    searches: Sequence[Search]  #: one for each variant, in order
    storage: SweepStorage
    store: Store
    token: str  #: the name under which this launcher is registered
    _: KW_ONLY
    on_trial: Callable[[TrialRuns], None]  #: called with every trial before its runs are created, to store it
    on_event: Callable[[TrialEvent], None]  #: called with what happens, for the user
    board: Board | None = None  #: of the launch, as of the last poll
    active: list[RunningTrial] = field(default_factory=list)
    external_failures: int = 0  #: trials that failed for reasons outside of their settings
    _polled: float = -POLL
    _others: bool = False  #: were there trials at the last poll that others work on, or leave to us?

    # Polling

    def poll(self, board: Board) -> RunChanges:
        """Record what has happened, and return what is to run next; see `RunSource.poll`."""
        add: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        pause: list[str] = []
        self.board = board
        self._settle(board, pause)
        if board.halted:
            return RunChanges(pause=pause)
        free = board.workers - board.counts["queued"] - board.counts["pending"] - board.counts["running"]
        for trial in self.active:
            free -= self._start_seeds(trial, add, free)
        for _ in range(BURST):
            fresh = self._propose() if free > 0 else None
            if fresh is None:
                break
            self.active.append(fresh)
            free -= self._start_seeds(fresh, add, free)
            self._settle(board, pause)
        else:
            self._others = True  # those trials were all known: there may be more, at the next poll
        return RunChanges(add, pause, open=bool(self.active) or self._others)

    def finish(self) -> None:
        """Record what has happened since the last poll, once the launch is over: what it left is no failure."""
        if self.board is not None:
            self._settle(self.board, [], lost=("failed",))

    def release(self) -> None:
        """Set the trials that this launcher could not finish back to waiting: the next launcher goes on with them."""
        if self.active:
            with self.storage.exclusive():
                for trial in self.active:
                    trial.search.release(trial.proposed.number, self.token)
        self.active.clear()

    # Proposing

    def _propose(self) -> RunningTrial | None:
        """Propose a trial of the variant that is behind; None if there is none now."""
        if time.monotonic() - self._polled < POLL:
            return None
        with self.storage.exclusive():
            statuses = [self._release_orphans(search) for search in self.searches]
            # All searches advance alike, so that each proposal knows as many results as possible.
            order = sorted(
                range(len(statuses)), key=lambda index: (len(statuses[index].owners), statuses[index].started, index)
            )
            for index in order:
                search, now = self.searches[index], statuses[index]
                for _ in range(BURST):
                    proposed = search.propose(now, self.token)
                    if proposed is None:
                        break
                    trial = self._accept(search, proposed)
                    if trial is not None:
                        return trial
                    now = statuses[index] = search.status()
        self._others = any(each.owners or each.waiting or each.has_room for each in statuses)
        self._polled = time.monotonic()
        return None

    def _release_orphans(self, search: Search) -> SearchStatus:
        """Release the trials of launchers that are gone; return the status of the search after that."""
        now = search.status()
        active = {trial.proposed.number for trial in self.active if trial.search is search}
        return search.status() if search.release_orphans(now, self.token, active) else now

    def _accept(self, search: Search, proposed: ProposedTrial) -> RunningTrial | None:
        """Make the runs of a trial, unless its settings or its known costs rule it out: then refuse it."""
        try:
            runs = trial_runs(self.prepared, search.variant, proposed.number, proposed.params)
        except UserError as error:
            self._refuse(search, proposed, str(error))
            return None
        if runs.cell.unresolved:
            self._refuse(search, proposed, f"weights that cannot be had: {', '.join(runs.cell.unresolved)}")
            return None
        bounds = self.prepared.sweep.constraints
        over = constraint_excess([runs.costs], bounds)
        if why := describe_violations(over, bounds, runs.costs):
            self._refuse(search, proposed, why, over)
            return None
        search.set_cell(proposed.trial, runs.cell.id)
        self.on_trial(runs)
        curve = None
        if self.prepared.sweep.pruner.by == "curve":
            first = next(iter(runs.seeds.values()))
            curve = LearningCurve(self.store.run(first) / "metrics.jsonl", self.prepared.sweep.objectives[0])
        trial = RunningTrial(search, proposed, runs, curve)
        self.on_event(TrialEvent(trial.name, "begun"))
        return trial

    def _refuse(
        self, search: Search, proposed: ProposedTrial, why: str, over: Mapping[str, float] | None = None
    ) -> None:
        """Record that a trial is not trained; samplers learn it as a violated constraint."""
        search.refuse(proposed.trial, why, over or {"refused": 1.0})
        self.on_event(TrialEvent(_trial_name(search, proposed), "refused", why))

    # Starting runs

    def _start_seeds(
        self, trial: RunningTrial, add: list[tuple[Mapping[str, Any], Mapping[str, Any]]], free: int
    ) -> int:
        """Add the runs of a trial that may be started now to `add`; return how many workers they take."""
        taken = 0
        for seed in self._startable(trial):
            needed = self._missing(trial, seed)
            if needed and taken >= free:
                break
            trial.started.append(seed)
            add += [(run, trial.runs.configs[run["id"]]) for run in trial.runs.runs if run["id"] in needed]
            taken += bool(needed)
        return taken

    def _startable(self, trial: RunningTrial) -> list[int]:
        """Return the seeds that may be started: where the pruner compares curves, the first one alone until it ends."""
        rest = [seed for seed in trial.runs.seeds if seed not in trial.started]
        if trial.curve is None or trial.first_seed_done:
            return rest
        return [] if trial.started else rest[:1]

    def _missing(self, trial: RunningTrial, seed: int) -> list[str]:
        """Return the unfinished runs that a seed needs: its own, and those that it starts from."""
        own = trial.runs.seeds[seed]
        wanted = [own]
        parents = {run["id"]: run["parents"] for run in trial.runs.runs}
        for run in wanted:
            wanted += [parent for parent in parents.get(run, []) if parent not in wanted]
        return [run for run in wanted if not (self.store.run(run) / "result.json").exists()]

    def _all_missing(self, trial: RunningTrial) -> list[str]:
        """Return the unfinished runs that a trial needs, those that its seeds start from included."""
        return list(dict.fromkeys(run for seed in trial.runs.seeds for run in self._missing(trial, seed)))

    def _done(self, trial: RunningTrial, seed: int) -> bool:
        return (self.store.run(trial.runs.seeds[seed]) / "result.json").exists()

    # Results

    def _settle(self, board: Board, pause: list[str], lost: Sequence[str] = LOST) -> None:
        """Record the trials that have ended, by themselves or by the pruner."""
        for trial in list(self.active):
            if self._settle_trial(trial, board, pause, (*lost,) if not board.halted else ("failed",)):
                self.active.remove(trial)

    def _settle_trial(self, trial: RunningTrial, board: Board, pause: list[str], lost: Sequence[str]) -> bool:
        """Record a trial if it has ended; return whether it has."""
        done = [seed for seed in trial.started if self._done(trial, seed)]  # before the curve is read: then it is whole
        if self._should_prune(trial):
            self._prune(trial, board, pause)
            return True
        trial.first_seed_done = bool(done)
        jobs = [board.jobs[run] for run in trial.runs.seeds.values() if run in board.jobs]
        failed = sorted((job for job in jobs if job.state in lost), key=lambda job: job.state != "failed")
        if failed:
            self._fail(trial, failed[0], board, pause)
            return True
        if len(done) == len(trial.runs.seeds):
            self._complete(trial)
            return True
        return False

    def _should_prune(self, trial: RunningTrial) -> bool:
        """Report new values one by one, and ask the pruner after each."""
        by = self.prepared.sweep.pruner.by
        if by == "curve" and trial.curve is not None and trial.started:
            points = trial.curve.read()
        elif by == "seeds":
            fresh = [seed for seed in trial.started if seed not in trial.reported_seeds and self._done(trial, seed)]
            trial.reported_seeds += fresh
            points = [(seed, self._values(trial, seed)[0]) for seed in fresh]
        else:
            return False
        for step, value in points:
            if step not in trial.proposed.reported:
                trial.search.report(trial.proposed.trial, value, step)
            elif step != max(trial.proposed.reported):
                continue  # the pruner was asked there; at the last one its launcher may have died before that
            trial.stopped_at = step
            if trial.search.should_prune(trial.proposed.trial):
                return True
        return False

    def _values(self, trial: RunningTrial, seed: int) -> list[float]:
        result = self.store.result(trial.runs.seeds[seed]) or {"metrics": {}}
        return select_metrics(
            visible_metrics(result), [objective.metric for objective in self.prepared.sweep.objectives]
        )

    def _complete(self, trial: RunningTrial) -> None:
        sweep = self.prepared.sweep
        found = [visible_metrics(self.store.result(run) or {"metrics": {}}) for run in trial.runs.seeds.values()]
        by_seed = {seed: self._values(trial, seed) for seed in trial.started}
        values = [
            reduce_over_seeds([by_seed[seed][place] for seed in sorted(by_seed)], sweep.seeds, objective.mode)
            for place, objective in enumerate(sweep.objectives)
        ]
        over = constraint_excess(found, sweep.constraints)
        if not trial.search.complete(trial.proposed.trial, values, by_seed, self._seconds(trial), over):
            self._leave(trial)
            return
        violates = "violates a constraint" if any(each > 0 for each in over.values()) else ""
        self.on_event(TrialEvent(trial.name, "done", violates, values[0]))

    def _prune(self, trial: RunningTrial, board: Board, pause: list[str]) -> None:
        by_seed = {seed: self._values(trial, seed) for seed in trial.started if self._done(trial, seed)}
        pruned = trial.search.prune(trial.proposed.trial, by_seed, self._seconds(trial))
        self._pause_runs(trial, board, pause, ended=pruned)
        if not pruned:
            self._leave(trial)
            return
        at = f"at step {trial.stopped_at}" if trial.curve is not None else f"after {len(trial.reported_seeds)} seeds"
        self.on_event(TrialEvent(trial.name, "pruned", at))

    def _fail(self, trial: RunningTrial, job: LaunchedRun, board: Board, pause: list[str]) -> None:
        first = board.failed_first(job)
        kind, problem = ("bug", first.note) if first.failure is None else (first.failure.kind, first.failure.error)
        where = f"seed {job.seed}" if first is job else f"{first.name}, which it starts from"
        failed = trial.search.fail(trial.proposed.trial, kind, f"{where}: {problem}", self._seconds(trial))
        self._pause_runs(trial, board, pause, ended=failed)
        if not failed:
            self._leave(trial)
            return
        self.external_failures += kind in EXTERNAL_FAILURES
        self.on_event(TrialEvent(trial.name, "failed", f"{kind}: {problem}"))

    def _leave(self, trial: RunningTrial) -> None:
        """Tell that a trial is another launcher's by now, which took this one for dead, and ends it."""
        self.on_event(TrialEvent(trial.name, "left", "another launcher goes on with it"))

    def _pause_runs(self, trial: RunningTrial, board: Board, pause: list[str], *, ended: bool) -> None:
        """Pause the runs of a trial that no other trial needs; their checkpoints are kept.

        If that has ended the trial, the launch log tells it of each, begun or not: `mtlab status` waits for none.
        """
        failed = {job.id for job in board.in_state("failed")}
        needed = {run for other in self.active if other is not trial for run in self._all_missing(other)}
        rest = [run for run in self._all_missing(trial) if run not in failed | needed]
        pause += [run for run in rest if run in board.jobs]
        for run in rest if ended else ():
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.store.log_launch(self.prepared.sweep.name, {"time": now, "event": "pruned", "run": run})

    def _seconds(self, trial: RunningTrial) -> float:
        """Return the training time of a trial's runs in seconds, finished or not."""
        total = 0.0
        for seed in trial.started:
            run = trial.runs.seeds[seed]
            result = self.store.result(run)
            if result is not None:
                total += float(result.get("cost", {}).get("seconds") or 0.0)
            else:
                curve = LearningCurve(self.store.run(run) / "metrics.jsonl", self.prepared.sweep.objectives[0])
                curve.read()
                total += curve.seconds
        return round(total, 3)


def _trial_name(search: Search, proposed: ProposedTrial) -> str:
    return f"{search.variant.label} · trial {proposed.number}"
