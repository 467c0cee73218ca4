"""Drives the searches of a sweep: asks for trials as workers become free, watches them, tells what came of them.

It is what feeds the launcher (see `mtlab.launch.board.RunSource`): runs are started, resumed, retried and stopped there.
What becomes of a trial depends on its runs alone, never on whether the store had them already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.launch.board import Board, Job, RunChanges
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
    from mtlab.studies.cells import CostFunction
    from mtlab.sweeps.search import ProposedTrial
    from mtlab.sweeps.storage.base import SweepStorage
    from mtlab.sweeps.variants import PreparedSweep

LOOK = 2.0  #: seconds between looks at the storage where there is nothing to do but wait for other launchers
AT_ONCE = 50  #: trials of one turn that may end at once, as their runs are known, or their settings are refused
LOST = ("failed", "blocked", "skipped")


@dataclass
class RunningTrial:
    """A trial that this launcher works on."""

    search: Search
    proposed: ProposedTrial
    runs: TrialRuns
    curve: LearningCurve | None  #: of its first seed, where the pruner goes by it
    started: list[int] = field(default_factory=list)  #: seeds whose runs were given to the launcher
    reported_seeds: list[int] = field(default_factory=list)  #: seeds that were reported, where the pruner goes by seeds
    survived: bool = False  #: has the first seed ended, and the pruner let it pass?
    stopped_at: int = 0  #: step, or seed, at which the pruner stopped it

    @property
    def name(self) -> str:
        """As it is called in lines for the user."""
        return f"{self.search.variant.label} · trial {self.proposed.number}"


@dataclass(frozen=True)
class TrialEvent:
    """Something that happened to a trial."""

    trial: str
    state: str  #: begun, done, pruned, failed, refused
    text: str = ""
    value: float | None = None  #: of the first objective


class Driver:
    """Feeds a launch with the trials of a sweep.

    Args:
        prepared: the sweep.
        searches: one for each variant, in order.
        storage: where they are kept.
        store: where runs lie.
        price: what an example costs.
        token: the name under which this launcher is present.
        planned: told of every trial, before its runs are made: the stored plan must ask for them.
        news: told of what happens, for the user.

    """

    def __init__(
        self,
        prepared: PreparedSweep,
        searches: Sequence[Search],
        storage: SweepStorage,
        store: Store,
        price: CostFunction,
        token: str,
        *,
        planned: Callable[[TrialRuns], None],
        news: Callable[[TrialEvent], None],
    ) -> None:
        self.prepared = prepared
        self.searches = tuple(searches)
        self.storage = storage
        self.store = store
        self.price = price
        self.token = token
        self.on_trial = planned
        self.on_event = news
        self.board: Board | None = None  #: of the launch, as of the last turn
        self.active: list[RunningTrial] = []
        self.outside = 0  #: trials that failed for reasons outside of their settings
        self._looked = -LOOK
        self._others = False  #: was anything left at the last look that others may work on, or leave to us?

    # One turn

    def poll(self, board: Board) -> RunChanges:
        """Take in what has happened, and say what is to run next; see `RunSource.poll`."""
        add: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        pause: list[str] = []
        self.board = board
        self._settle(board, pause)
        if board.halted:
            return RunChanges(pause=pause)
        free = board.workers - board.counts["queued"] - board.counts["pending"] - board.counts["running"]
        for trial in self.active:
            free -= self._begin_seeds(trial, add, free)
        for _ in range(AT_ONCE):
            fresh = self._ask() if free > 0 else None
            if fresh is None:
                break
            self.active.append(fresh)
            free -= self._begin_seeds(fresh, add, free)
            self._settle(board, pause)
        return RunChanges(add, pause, open=bool(self.active) or self._others)

    def finish(self) -> None:
        """Take in what has happened since the last turn, once the launch is over: what it left is no failure."""
        if self.board is not None:
            self._settle(self.board, [], lost=("failed",))

    def release(self) -> None:
        """Put back what this launcher could not finish: the next one takes it up."""
        if self.active:
            with self.storage.exclusive():
                for trial in self.active:
                    trial.search.release(trial.proposed.number)
        self.active.clear()

    # Asking

    def _ask(self) -> RunningTrial | None:
        """Ask for a trial, of the variant that is behind; None if there is none to be had now."""
        if time.monotonic() - self._looked < LOOK:
            return None
        with self.storage.exclusive():
            standings = [self._rescued(search) for search in self.searches]
            # All advance alike, and each trial knows as much as can be of those before it.
            order = sorted(
                range(len(standings)), key=lambda index: (len(standings[index].owners), standings[index].started, index)
            )
            for index in order:
                search, now = self.searches[index], standings[index]
                for _ in range(AT_ONCE):
                    asked = search.ask(now, self.token)
                    if asked is None:
                        break
                    trial = self._taken(search, asked)
                    if trial is not None:
                        return trial
                    now = standings[index] = search.status()
        self._others = any(each.owners or each.waiting or each.has_room for each in standings)
        self._looked = time.monotonic()
        return None

    def _rescued(self, search: Search) -> SearchStatus:
        """Tell how a search stands, once the trials of launchers that are gone have been put back."""
        now = search.status()
        return search.status() if search.rescue(now, self.token) else now

    def _taken(self, search: Search, asked: ProposedTrial) -> RunningTrial | None:
        """Make the runs of a trial, unless its settings or its known costs rule it out."""
        try:
            runs = trial_runs(self.prepared, search.variant, asked.number, asked.params, self.price)
        except UserError as error:
            self._refuse(search, asked, str(error))
            return None
        if runs.cell.unresolved:
            self._refuse(search, asked, f"weights that cannot be had: {', '.join(runs.cell.unresolved)}")
            return None
        bounds = self.prepared.sweep.constraints
        over = constraint_excess([runs.costs], bounds)
        if why := describe_violations(over, bounds, runs.costs):
            self._refuse(search, asked, why, over)
            return None
        search.take(asked.trial, runs.cell.id)
        self.on_trial(runs)
        curve = None
        if self.prepared.sweep.pruner.by == "curve":
            first = next(iter(runs.seeds.values()))
            curve = LearningCurve(self.store.run(first) / "metrics.jsonl", self.prepared.sweep.objectives[0])
        trial = RunningTrial(search, asked, runs, curve)
        self.on_event(TrialEvent(trial.name, "begun"))
        return trial

    def _refuse(self, search: Search, asked: ProposedTrial, why: str, over: Mapping[str, float] | None = None) -> None:
        """Tell that a trial is not to be trained; samplers learn it as a limit that it breaks."""
        search.refuse(asked.trial, why, over or {"refused": 1.0})
        self.on_event(TrialEvent(f"{search.variant.label} · trial {asked.number}", "refused", why))

    # Giving runs to the launcher

    def _begin_seeds(
        self, trial: RunningTrial, add: list[tuple[Mapping[str, Any], Mapping[str, Any]]], free: int
    ) -> int:
        """Give the launcher the runs of a trial that may be started now; return how many workers they take."""
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
        """Return the seeds that may be begun: a curve's pruner looks at the first one before there are others."""
        rest = [seed for seed in trial.runs.seeds if seed not in trial.started]
        if trial.curve is None or trial.survived:
            return rest
        return [] if trial.started else rest[:1]

    def _missing(self, trial: RunningTrial, seed: int) -> list[str]:
        """Return the runs that a seed needs and the store lacks: its own, and those that it starts from."""
        own = trial.runs.seeds[seed]
        wanted = [own]
        parents = {run["id"]: run["parents"] for run in trial.runs.runs}
        for run in wanted:
            wanted += [parent for parent in parents.get(run, []) if parent not in wanted]
        return [run for run in wanted if not (self.store.run(run) / "result.json").exists()]

    def _done(self, trial: RunningTrial, seed: int) -> bool:
        return (self.store.run(trial.runs.seeds[seed]) / "result.json").exists()

    # Judging

    def _settle(self, board: Board, pause: list[str], lost: Sequence[str] = LOST) -> None:
        """Tell what became of the trials that have ended, by themselves or by the pruner."""
        for trial in list(self.active):
            if self._judge(trial, board, pause, (*lost,) if not board.halted else ("failed",)):
                self.active.remove(trial)

    def _judge(self, trial: RunningTrial, board: Board, pause: list[str], lost: Sequence[str]) -> bool:
        """Look at one trial; tell whether it has ended."""
        done = [seed for seed in trial.started if self._done(trial, seed)]  # before the curve is read: then it is whole
        if self._worse(trial):
            self._prune(trial, board, pause)
            return True
        trial.survived = bool(done)
        jobs = [board.jobs[run] for run in trial.runs.seeds.values() if run in board.jobs]
        failed = sorted((job for job in jobs if job.state in lost), key=lambda job: job.state != "failed")
        if failed:
            self._fail(trial, failed[0], board, pause)
            return True
        if len(done) == len(trial.runs.seeds):
            self._complete(trial)
            return True
        return False

    def _worse(self, trial: RunningTrial) -> bool:
        """Report what is new, point by point, and ask the pruner after each."""
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
                continue  # it was judged there; at the last one its launcher may have died before it asked
            trial.stopped_at = step
            if trial.search.worse(trial.proposed.trial):
                return True
        return False

    def _values(self, trial: RunningTrial, seed: int) -> list[float]:
        result = self.store.result(trial.runs.seeds[seed]) or {"metrics": {}}
        return select_metrics(
            visible_metrics(result), [objective.metric for objective in self.prepared.sweep.objectives]
        )

    # Telling

    def _complete(self, trial: RunningTrial) -> None:
        sweep = self.prepared.sweep
        found = [visible_metrics(self.store.result(run) or {"metrics": {}}) for run in trial.runs.seeds.values()]
        by_seed = {seed: self._values(trial, seed) for seed in trial.started}
        values = [
            reduce_over_seeds([by_seed[seed][place] for seed in sorted(by_seed)], sweep.seeds, objective.mode)
            for place, objective in enumerate(sweep.objectives)
        ]
        over = constraint_excess(found, sweep.constraints)
        trial.search.complete(trial.proposed.trial, values, by_seed, self._seconds(trial), over)
        self.on_event(
            TrialEvent(
                trial.name, "done", "breaks a limit" if any(each > 0 for each in over.values()) else "", values[0]
            )
        )

    def _prune(self, trial: RunningTrial, board: Board, pause: list[str]) -> None:
        by_seed = {seed: self._values(trial, seed) for seed in trial.started if self._done(trial, seed)}
        trial.search.prune(trial.proposed.trial, by_seed, self._seconds(trial))
        self._stop(trial, board, pause)
        at = f"at step {trial.stopped_at}" if trial.curve is not None else f"after {len(trial.reported_seeds)} seeds"
        self.on_event(TrialEvent(trial.name, "pruned", at))

    def _fail(self, trial: RunningTrial, job: Job, board: Board, pause: list[str]) -> None:
        kind, problem = ("bug", job.note) if job.failure is None else (job.failure.kind, job.failure.error)
        trial.search.fail(trial.proposed.trial, kind, f"seed {job.seed}: {problem}", self._seconds(trial))
        self._stop(trial, board, pause)
        self.outside += kind in EXTERNAL_FAILURES
        self.on_event(TrialEvent(trial.name, "failed", f"{kind}: {problem}"))

    def _stop(self, trial: RunningTrial, board: Board, pause: list[str]) -> None:
        """Stop the runs of a trial that nobody else waits for; their state is kept."""
        needed = {run for other in self.active if other is not trial for run in other.runs.seeds.values()}
        pause += [run for run in trial.runs.seeds.values() if run in board.jobs and run not in needed]

    def _seconds(self, trial: RunningTrial) -> float:
        """Sum up the training time of a trial's runs, finished or not."""
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
