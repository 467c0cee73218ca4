"""The launcher: runs what a plan asks for and the store lacks, as many at once as its pool takes.

Each run has a worker of its own (`mtlab train RUN_DIR`), started by a pool: this machine (`mtlab.launch.local`) or
a cluster (`mtlab.launch.slurm.pool`). A lock protects it: several launchers, on one host or many, may work on one study
at once. What is worked on by somebody else's worker is waited for; what that worker leaves unfinished is taken over.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mtlab import files
from mtlab.launch.board import (
    WAITING,
    Board,
    Job,
    JobState,
    LaunchView,
    NoRunSource,
    RunSource,
    SilentView,
    make_board,
    make_job,
)
from mtlab.launch.exit_status import ExitStatus, RunFailure, classify_exit
from mtlab.launch.local import LocalPool, default_workers
from mtlab.launch.pool import Attempt, Pool
from mtlab.processes import EXIT_LOCKED
from mtlab.runs.lock import PATIENCE, LockWatch
from mtlab.runs.store import Store

POLL = 0.25  #: seconds between looks at locks and updates of the view
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class LaunchPolicy:
    """What follows from failures, and how patient the launcher is."""

    retries: int = 2  #: further attempts at a run whose worker was killed
    fail_fast: bool = False  #: the first failure stops the study
    keep_going: bool = False  #: no failure stops more than its own run and its descendants
    grace: float = 60.0  #: seconds that workers have to stop before they are killed
    limit: float = math.inf  #: seconds that one attempt at a run may take
    patience: float = PATIENCE  #: seconds without a beat after which a lock from elsewhere is stale


@dataclass(frozen=True)
class LaunchOutcome:
    """How a launch ended: every run of the plan is in one of these."""

    done: tuple[str, ...]
    failed: Mapping[str, RunFailure]
    blocked: tuple[str, ...]  #: they wait for a run that failed
    skipped: tuple[str, ...]  #: not started, or stopped, because of a failure elsewhere in the study, or of a signal
    interrupted: bool
    message: str = ""  #: why the study was stopped, "" if it was not

    @property
    def exit_code(self) -> int:
        """0 done; 1 some run is not; 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed or self.blocked or self.skipped else 0


def launch(
    store: Store,
    plan: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]],
    *,
    pool: Pool | None = None,
    policy: LaunchPolicy | None = None,
    view: LaunchView | None = None,
    feed: RunSource | None = None,
) -> LaunchOutcome:
    """Run what is missing of a plan, and return when nothing more can be done.

    Args:
        store: where the runs lie.
        plan: the content of `plan.json`.
        configs: run id → content of its `config.json`.
        pool: where runs are worked on; by default this machine, with a worker for every CPU.
        policy: what follows from failures.
        view: what shows it; by default nothing does.
        feed: where further runs come from while this goes on; by default from nowhere.

    Raises:
        UserError: the store cannot be written, or a run is there under another configuration.

    """
    pool = pool or LocalPool(default_workers(configs))
    board = make_board(store, plan, pool.at_once)
    launch = _Launch(store, configs, board, pool, policy or LaunchPolicy(), view or SilentView(), feed or NoRunSource())
    return asyncio.run(launch.run())


class _Launch:
    """One call of `launch`."""

    def __init__(
        self,
        store: Store,
        configs: Mapping[str, Mapping[str, Any]],
        board: Board,
        pool: Pool,
        policy: LaunchPolicy,
        view: LaunchView,
        feed: RunSource,
    ) -> None:
        self.store = store
        self.configs = dict(configs)
        self.board = board
        self.pool = pool
        self.policy = policy
        self.view = view
        self.feed = feed
        self.running: dict[asyncio.Task[ExitStatus], Job] = {}
        self.attempts: dict[str, Attempt] = {}
        self.watches: dict[str, LockWatch] = {}
        self.signatures: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.closed: dict[str, str] = {}  #: cells of which no further seed is started, and why
        self.signals = 0
        self.aborted = False  #: stop at once, running workers included

    async def run(self) -> LaunchOutcome:
        heard = self._listen()
        self._log("launch", runs=len(self.board.jobs), done=self.board.counts["done"], workers=self.board.workers)
        try:
            with self.view:
                async with self.pool:
                    try:
                        while await self._advance():
                            await self._tick()
                    finally:
                        await self._stop()
                        self.view.update(self.board)
        finally:
            for number in heard:
                asyncio.get_running_loop().remove_signal_handler(number)
        outcome = self._outcome()
        self._log("end", **{state: count for state, count in self.board.counts.items() if count})
        return outcome

    # One round

    async def _advance(self) -> bool:
        """Take in what has happened and start what can be; False when nothing is left to wait for."""
        for task in [task for task in self.running if task.done()]:
            self._ended(self.running.pop(task), task.result())
        if self.signals or self.aborted:
            return False
        for job in self.board.among("elsewhere"):
            self._look(job)
        more = self._turn()
        self._follow()
        self._expire()
        self._skip()
        self._block()
        for job in self.board.among("queued"):
            if len(self.running) >= self.board.workers:
                break
            if all(self._done(parent) for parent in job.parents):
                await self._start(job)
        self.view.update(self.board)
        return bool(more or self.running or self.board.counts["elsewhere"] or self._startable())

    def _turn(self) -> bool:
        """Ask the feed what is to change; tell whether it may have more later."""
        turn = self.feed.poll(self.board)
        for run, config in turn.add:
            job = self.board.jobs.get(run["id"])
            if job is None:
                self.board.jobs[run["id"]] = make_job(self.store, run)
                self.configs[run["id"]] = config
            elif job.state == "paused":
                job.unwanted = False
                self._become(job, "queued", "asked for again")
        for job in [self.board.jobs[run] for run in turn.pause]:
            if job.state == "queued":
                self._become(job, "paused")
            elif job.state in ("pending", "running") and not job.unwanted:
                job.unwanted = True
                self._ask_to_stop(job)
        self.board.recount()
        return turn.open and not self.board.halted

    def _startable(self) -> bool:
        return any(all(self._done(parent) for parent in job.parents) for job in self.board.among("queued"))

    async def _tick(self) -> None:
        pending = [task for task in self.running if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(POLL)

    def _done(self, run: str) -> bool:
        job = self.board.jobs.get(run)
        return job.state == "done" if job is not None else self.store.state(run) == "done"

    # Starting

    async def _start(self, job: Job) -> None:
        """Start a run, unless another has finished it or works on it."""
        watch = self.watches.setdefault(job.id, LockWatch(job.directory, self.policy.patience))
        seen = watch.look()
        if (job.directory / "result.json").exists():
            self._become(job, "done", "elsewhere")
        elif seen in ("live", "unsure"):
            attempt = self.pool.adopt(job.directory)
            if attempt is None:
                self._become(job, "elsewhere", str(watch.holder or "somebody"))
            else:
                self._begin(job, attempt)
        elif seen == "free" or watch.clear():
            self.store.create_run(job.id, self.configs[job.id])
            self._begin(job, await self.pool.start(job.directory, self.configs[job.id]))

    def _begin(self, job: Job, attempt: Attempt) -> None:
        job.attempt += 1
        job.started, job.overdue, job.deadline = time.monotonic(), False, None
        job.begun = _last_checkpoint(job)
        self.attempts[job.id] = attempt
        self.running[asyncio.create_task(attempt.wait())] = job
        self._become(job, "pending" if attempt.pending else "running")

    def _follow(self) -> None:
        """Tell which of the runs that waited for a place have one by now, and which have lost it again."""
        for job in self.running.values():
            state: JobState = "pending" if self.attempts[job.id].pending else "running"
            if job.state != state:
                self._become(job, state, "pre-empted" if state == "pending" else "")

    def _look(self, job: Job) -> None:
        """Look after a run that somebody else works on."""
        if self.watches[job.id].look() in ("live", "unsure"):
            return
        if (job.directory / "result.json").exists():
            self._become(job, "done", "elsewhere")
            return
        failure = self.store.failure(job.id)
        if failure is not None and failure != job.before:
            self._failed(job, RunFailure.from_json(failure))
        else:
            self._become(job, "queued", "left unfinished by another worker")

    # Ending

    def _expire(self) -> None:
        """Stop workers whose time is up, and kill those that were asked to stop and do not listen."""
        now = time.monotonic()
        for job in self.running.values():
            if now - job.started > self.policy.limit and job.deadline is None:
                job.overdue = True
                self._ask_to_stop(job)
            elif job.deadline is not None and now > job.deadline:
                self.attempts[job.id].stop(force=True)

    def _ask_to_stop(self, job: Job) -> None:
        """Stop a worker politely, so that it keeps its state."""
        job.deadline = time.monotonic() + self.policy.grace
        self.attempts[job.id].stop()

    def _ended(self, job: Job, end: ExitStatus) -> None:
        """Judge how a worker ended, and what follows."""
        if job.state == "pending" and end.code is not None:
            self._become(job, "running")  # it began and ended between two looks
        details = self.attempts.pop(job.id).details
        finished, code = (job.directory / "result.json").exists(), end.code
        failure = classify_exit(end, self.store.failure(job.id), finished, job.attempt)
        if failure is not None and failure.kind == "killed" and job.overdue:
            failure = RunFailure("timeout", f"not finished after {self.policy.limit / 3600:g} hours", None, job.attempt)
        kind = failure.kind if failure else None
        self._log("exit", run=job.id, attempt=job.attempt, code=code, kind=kind, **details)
        if finished:
            self._become(job, "done")
        elif code == EXIT_LOCKED:
            job.attempt -= 1
            self._become(job, "elsewhere", "another worker was faster")
        elif self.signals or self.aborted:
            self._become(job, "stopped")
        elif job.unwanted and (failure is None or failure.kind == "killed"):
            self._become(job, "paused")
        elif failure is not None and self._goes_on(job, failure):
            self._become(job, "queued", f"{failure.error}; attempt {job.attempt + 1} follows")
        elif failure is not None:
            self._failed(job, failure)

    def _goes_on(self, job: Job, failure: RunFailure) -> bool:
        """Is there to be another attempt? For the killed as often as allowed; after its time as long as it gets on."""
        if failure.kind == "killed":
            job.losses += 1
            return job.losses <= self.policy.retries
        return failure.kind == "timeout" and not job.overdue and _last_checkpoint(job) != job.begun

    def _failed(self, job: Job, failure: RunFailure) -> None:
        job.failure = failure
        self._become(job, "failed", failure.error)
        if self.policy.fail_fast:
            self.aborted = True
            self._halt(f"stopped at the first failure: {job.name}")
            return
        if self.policy.keep_going:
            return
        if failure.stops_cell:
            self.closed[job.cell] = f"seed {job.seed} failed: {failure}"
        if failure.signature is not None:
            cells = self.signatures[failure.signature]
            cells.add(job.cell)
            if len(cells) > 1:
                self._halt(f"stopped: the same failure in two cells, {failure.error} ({failure.where})")

    def _halt(self, message: str) -> None:
        self.board.halted, self.board.message = True, message
        self._log("halt", why=message)

    def _skip(self) -> None:
        """Give up what is not to be started any more, be it for the first time or again."""
        for job in self.board.among("queued"):
            if self.board.halted or job.cell in self.closed:
                self._become(job, "skipped", self.closed.get(job.cell, "the study was stopped"))

    def _block(self) -> None:
        """Block what waits for a run that will not finish."""
        lost = {job.id for job in self.board.among("failed", "blocked", "skipped")}
        for job in self.board.among("queued"):
            missing = [
                run for run in job.parents if run in lost or (run not in self.board.jobs and not self._done(run))
            ]
            if missing:
                lost.add(job.id)
                self._become(job, "blocked", f"waits for {', '.join(missing)}")

    async def _stop(self) -> None:
        """Stop all workers: politely, then, at the end of patience or at a second signal, by force."""
        for attempt in self.attempts.values():
            attempt.stop()
        if self.running:
            self.board.message = self.board.message or "stopping: workers write their state (again: at once)"
        asked, deadline = self.signals, time.monotonic() + self.policy.grace
        while any(not task.done() for task in self.running):
            self.view.update(self.board)
            await self._tick()
            if self.signals > max(asked, 1) or time.monotonic() > deadline:
                for attempt in self.attempts.values():
                    attempt.stop(force=True)
        for task, job in list(self.running.items()):
            self._ended(job, task.result())
        self.running.clear()
        for job in self.board.among(*WAITING):
            self._become(job, "skipped", self.board.message or "the launcher was stopped")

    # Telling

    def _become(self, job: Job, state: JobState, note: str = "") -> None:
        job.state, job.note = state, note
        self.board.recount()
        attempt = self.attempts.get(job.id)
        details = {} if attempt is None else {**attempt.details, "attempt": job.attempt}
        self._log({"running": "start"}.get(state, state), run=job.id, **details, **({"why": note} if note else {}))
        self.view.changed(job)

    def _log(self, event: str, **details: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        who = {"host": socket.gethostname(), "launcher": os.getpid()}
        self.store.log_launch(self.board.study, {"time": now, **who, "event": event, **details})

    def _listen(self) -> list[signal.Signals]:
        """Take signals, where they can be taken: in the main thread, and unless the user has them ignored (nohup)."""
        if threading.current_thread() is not threading.main_thread():
            return []
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in heard:
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt)
        return heard

    def _interrupt(self) -> None:
        self.signals += 1

    def _outcome(self) -> LaunchOutcome:
        ids = {state: tuple(job.id for job in self.board.among(state)) for state in ("done", "blocked")}
        return LaunchOutcome(
            done=ids["done"],
            failed={job.id: job.failure for job in self.board.among("failed") if job.failure is not None},
            blocked=ids["blocked"],
            skipped=tuple(job.id for job in self.board.among("skipped", "stopped")),
            interrupted=self.signals > 0,
            message=self.board.message,
        )


def _last_checkpoint(job: Job) -> int | None:
    """Tell when the checkpoint that the run goes on from was written, in ns; None if there is none."""
    return files.modified_ns(job.directory / "checkpoints" / "last.safetensors")
