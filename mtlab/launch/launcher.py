"""The launcher: executes the unfinished runs of a plan, as many at once as its pool allows.

Each run has a worker process of its own (`mtlab train RUN_DIR`), started by a pool: on this machine
(`mtlab.launch.local`) or on a cluster (`mtlab.launch.slurm`, `mtlab.launch.ray`). A lock protects each run, so that
several launchers, on one host or many, may work on one study at once: a run that the worker of another launcher
holds is waited for, and taken over if that worker leaves it unfinished.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mtlab import files
from mtlab.launch.board import (
    LOST,
    WAITING,
    Board,
    JobState,
    LaunchedRun,
    LaunchView,
    NoRunSource,
    RunSource,
    SilentView,
    make_board,
    make_job,
)
from mtlab.launch.exit_status import ExitStatus, RunFailure, classify_exit
from mtlab.launch.local.pool import LocalPool, default_workers
from mtlab.launch.policy import FailureTracker, LaunchPolicy
from mtlab.launch.pool import Attempt, Pool
from mtlab.processes import EXIT_LOCKED, current_process
from mtlab.runs.lock import LockWatch, refresh
from mtlab.runs.store import Store

POLL = 0.25  #: seconds between checks of locks and workers, and updates of the view
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class LaunchOutcome:
    """How a launch ended; every run of the plan is in one of these."""

    done: tuple[str, ...]
    failed: Mapping[str, RunFailure]
    blocked: tuple[str, ...]  #: a run that they start from failed
    skipped: tuple[str, ...]  #: not started, or stopped, because of a failure elsewhere in the study, or of a signal
    interrupted: bool
    message: str = ""  #: which failures stopped the launch, "" if none did

    @property
    def exit_code(self) -> int:
        """0: all runs are done; 1: some are not; 130: interrupted."""
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
    source: RunSource | None = None,
) -> LaunchOutcome:
    """Execute the unfinished runs of a plan, and return when nothing more can be done.

    Args:
        store: the run store.
        plan: the content of `plan.json`.
        configs: run id → content of its `config.json`.
        pool: where runs are executed; by default on this machine, with a worker for every CPU.
        policy: retries, time limits and what stops the launch.
        view: shows the progress; by default nothing does.
        source: adds and pauses runs during the launch; by default nothing does.

    Raises:
        UserError: the store cannot be written, or a run has another configuration there.

    """
    pool = pool or LocalPool(default_workers(configs), forks=True)
    board = make_board(store, plan, pool.at_once)
    launch = _Launch(
        store, dict(configs), board, pool, policy or LaunchPolicy(), view or SilentView(), source or NoRunSource()
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(launch.run())
    with ThreadPoolExecutor(1) as thread:  # in a notebook, whose own event loop runs in this one
        running = thread.submit(copy_context().run, asyncio.run, launch.run())
        while True:
            try:
                return running.result()
            except KeyboardInterrupt:
                launch.interrupt()


@dataclass(eq=False)
class _Launch:
    """The state of one call of `launch`."""

    store: Store
    configs: dict[str, Mapping[str, Any]]
    board: Board
    pool: Pool
    policy: LaunchPolicy
    view: LaunchView
    source: RunSource
    running: dict[asyncio.Task[ExitStatus], LaunchedRun] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    watches: dict[str, LockWatch] = field(default_factory=dict)
    signals: int = 0
    aborted: bool = False  #: stop at once, running workers included

    def __post_init__(self) -> None:
        self.failures = FailureTracker(self.policy)

    async def run(self) -> LaunchOutcome:
        before = {number: signal.getsignal(number) for number in SIGNALS}
        handled = self._handle_signals()
        counts = {"runs": len(self.board.jobs), "done": self.board.counts["done"], "workers": self.board.workers}
        # Who takes signals can be stopped by `mtlab cancel`; a notebook's kernel would end.
        self._log("launch", **counts, **({"process": current_process().to_json()} if handled else {}))
        try:
            with self.view:
                async with self.pool:
                    try:
                        while await self._advance():
                            await self._sleep()
                    finally:
                        await self._stop()
                        self.view.update(self.board)
        finally:
            for number in handled:
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, before[number] or signal.SIG_DFL)
            self._log("end", **{state: count for state, count in self.board.counts.items() if count})
        return self._outcome()

    # One iteration

    async def _advance(self) -> bool:
        """Process what has happened and start what can be; return False when nothing is left to wait for."""
        for task in [task for task in self.running if task.done()]:
            self._finish(self.running.pop(task), task.result())
        if self.signals or self.aborted:
            return False
        for job in self.board.in_state("elsewhere"):
            self._check_elsewhere(job)
        more = self._poll_source()
        self._update_pending()
        self._enforce_limits()
        self._skip()
        self._block()
        for job in self.board.in_state("queued"):
            if len(self.running) >= self.board.workers or self.signals or self.aborted:
                break
            if self._parents_done(job):
                await self._start(job)
        self.view.update(self.board)
        startable = any(map(self._parents_done, self.board.in_state("queued")))
        return bool(more or self.running or self.board.counts["elsewhere"] or startable)

    def _poll_source(self) -> bool:
        """Add and pause runs as the source asks; return whether it may add more later."""
        changes = self.source.poll(self.board)
        for run, config in changes.add:
            job = self.board.jobs.get(run["id"])
            if job is None:
                self.board.jobs[run["id"]] = make_job(self.store, run)
                self.configs[run["id"]] = config
            elif job.state == "paused":
                self._set_state(job, "queued", "resumed")
            elif job.pause_requested:  # its worker has not ended yet
                job.wanted_again = True
        for job in [self.board.jobs[run] for run in changes.pause]:
            job.wanted_again = False
            if job.state == "queued":
                self._set_state(job, "paused")
            elif job.state in ("pending", "running") and not job.pause_requested:
                job.pause_requested = True
                self._request_stop(job)
        self.board.recount()
        return changes.open and not self.board.halted

    async def _sleep(self) -> None:
        """Sleep until a worker ends, or `POLL` seconds."""
        pending = [task for task in self.running if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(POLL)

    def _parents_done(self, job: LaunchedRun) -> bool:
        return all(map(self._is_done, job.parents))

    def _is_done(self, run: str) -> bool:
        job = self.board.jobs.get(run)
        return job.state == "done" if job is not None else self.store.state(run) == "done"

    # Starting

    async def _start(self, job: LaunchedRun) -> None:
        """Start a run, unless it is finished or held by another worker."""
        watch = self.watches.setdefault(job.id, LockWatch(job.directory, self.policy.patience))
        lock = watch.observe()
        if (job.directory / "result.json").exists():
            self._set_state(job, "done", "elsewhere")
        elif lock in ("live", "unsure"):
            attempt = self.pool.adopt(job.directory)
            if attempt is None:
                self._set_state(job, "elsewhere", str(watch.holder or "another launcher"))
            else:
                self._begin(job, attempt)
        elif lock == "free" or watch.clear():
            self.store.create_run(job.id, self.configs[job.id])
            self._begin(job, await self.pool.start(job.directory, self.configs[job.id]))

    def _begin(self, job: LaunchedRun, attempt: Attempt) -> None:
        job.attempt += 1
        job.started_at, job.timed_out, job.kill_at = time.monotonic(), False, None
        job.last_checkpoint = _checkpoint_time(job)
        self.attempts[job.id] = attempt
        self.running[asyncio.create_task(attempt.wait())] = job
        self._set_state(job, "pending" if attempt.pending else "running")

    def _update_pending(self) -> None:
        """Update which runs wait in the queue of a cluster."""
        for job in self.running.values():
            state: JobState = "pending" if self.attempts[job.id].pending else "running"
            if job.state != state:
                self._set_state(job, state, "pre-empted" if state == "pending" else "")

    def _check_elsewhere(self, job: LaunchedRun) -> None:
        """Check a run that the worker of another launcher holds."""
        if self.watches[job.id].observe() in ("live", "unsure"):
            return
        if (job.directory / "result.json").exists():
            self._set_state(job, "done", "elsewhere")
            return
        failure = job.new_failure(self.store)
        if failure is not None:
            self._fail(job, RunFailure.from_json(failure))
        else:
            self._set_state(job, "queued", "left unfinished by another worker")

    # Ending

    def _enforce_limits(self) -> None:
        """Stop workers that have used up their time, and kill those that have not stopped within the grace period."""
        now = time.monotonic()
        for job in self.running.values():
            if job.state == "pending":
                job.started_at = now  # the wait for a place does not count
            if now - job.started_at > self.policy.limit and job.kill_at is None:
                job.timed_out = True
                self._request_stop(job)
            elif job.kill_at is not None and now > job.kill_at:
                self.attempts[job.id].stop(force=True)

    def _request_stop(self, job: LaunchedRun) -> None:
        """Ask a worker to write a checkpoint and end."""
        job.kill_at = time.monotonic() + self.policy.grace
        self.attempts[job.id].stop()

    def _finish(self, job: LaunchedRun, status: ExitStatus) -> None:
        """Set the state of a run whose worker has ended."""
        if job.state == "pending" and status.code is not None:
            self._set_state(job, "running")  # it began and ended between two checks
        details = self.attempts.pop(job.id).details
        refresh(job.directory)
        finished, code = (job.directory / "result.json").exists(), status.code
        failure = classify_exit(status, job.new_failure(self.store), finished, job.attempt, job.directory)
        if failure is not None and failure.kind == "killed" and job.timed_out:
            failure = RunFailure("timeout", f"not finished after {self.policy.limit / 3600:g} hours", None, job.attempt)
        self._log("exit", run=job.id, attempt=job.attempt, code=code, kind=failure and failure.kind, **details)
        if finished:
            self._set_state(job, "done")
        elif code == EXIT_LOCKED:
            job.attempt -= 1
            self._set_state(job, "elsewhere", "another worker was faster")
        elif job.pause_requested and (failure is None or failure.kind in ("killed", "timeout")):
            self._set_state(job, *(("queued", "resumed") if job.wanted_again else ("paused",)))
            job.pause_requested = job.wanted_again = False
        elif self.signals or self.aborted:
            self._set_state(job, "stopped")
        elif failure is not None:
            progressed = _checkpoint_time(job) != job.last_checkpoint
            if self.failures.grant_retry(job, failure, progressed=progressed):
                self._set_state(job, "queued", f"{failure.error}; attempt {job.attempt + 1} follows")
            else:
                self._fail(job, failure)

    def _fail(self, job: LaunchedRun, failure: RunFailure) -> None:
        job.failure = failure
        self._set_state(job, "failed", failure.error)
        message = self.failures.record(job, failure)
        if message is not None:
            self.aborted = self.aborted or self.policy.fail_fast
            self.board.halted, self.board.message = True, message
            self._log("halt", why=message)

    def _skip(self) -> None:
        """Skip queued runs that are not to be started any more, be it for the first time or again."""
        closed = self.failures.closed_cells
        for job in self.board.in_state("queued"):
            if self.board.halted or job.cell in closed:
                self._set_state(job, "skipped", closed.get(job.cell, "the study was stopped"))

    def _block(self) -> None:
        """Block queued runs whose parents will not finish."""
        lost = {job.id for job in self.board.in_state(*LOST)}
        for job in self.board.in_state("queued"):
            missing = [
                run for run in job.parents if run in lost or (run not in self.board.jobs and not self._is_done(run))
            ]
            if missing:
                lost.add(job.id)
                self._set_state(job, "blocked", f"waits for {', '.join(missing)}")

    async def _stop(self) -> None:
        """Stop all workers: with a checkpoint, then, after the grace period or a second signal, by force."""
        for attempt in self.attempts.values():
            attempt.stop()
        if self.running:
            self.board.message = self.board.message or "stopping: workers write their state (again: kill them)"
        signals, deadline = self.signals, time.monotonic() + self.policy.grace
        while any(not task.done() for task in self.running):
            self.view.update(self.board)
            await self._sleep()
            if self.signals > max(signals, 1) or time.monotonic() > deadline:
                for attempt in self.attempts.values():
                    attempt.stop(force=True)
        for task, job in list(self.running.items()):
            self._finish(job, task.result())
        self.running.clear()
        for job in self.board.in_state(*WAITING):
            self._set_state(job, "skipped", self.board.message or "the launcher was stopped")

    # Reporting

    def _set_state(self, job: LaunchedRun, state: JobState, note: str = "") -> None:
        job.state, job.note = state, note
        self.board.recount()
        attempt = self.attempts.get(job.id)
        details = {} if attempt is None else {**attempt.details, "attempt": job.attempt}
        if state == "failed" and job.failure is not None:
            details["kind"] = job.failure.kind
        self._log({"running": "start"}.get(state, state), run=job.id, **details, **({"why": note} if note else {}))
        self.view.changed(job)

    def _log(self, event: str, **details: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        who = {"host": socket.gethostname(), "launcher": os.getpid()}
        with suppress(files.DiskError):  # the runs will say so
            self.store.log_launch(self.board.study, {"time": now, **who, "event": event, **details})

    def _handle_signals(self) -> list[signal.Signals]:
        """Install signal handlers: only in the main thread, and not for signals that the user has ignored (nohup)."""
        if threading.current_thread() is not threading.main_thread():
            return []
        handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in handled:
            asyncio.get_running_loop().add_signal_handler(number, self.interrupt)
        return handled

    def interrupt(self) -> None:
        """Stop the launch; workers write their state. Called again, it kills them."""
        self.signals += 1

    def _outcome(self) -> LaunchOutcome:
        ids = {state: tuple(job.id for job in self.board.in_state(state)) for state in ("done", "blocked")}
        return LaunchOutcome(
            done=ids["done"],
            failed={job.id: job.failure for job in self.board.in_state("failed") if job.failure is not None},
            blocked=ids["blocked"],
            skipped=tuple(job.id for job in self.board.in_state("skipped", "stopped")),
            interrupted=self.signals > 0,
            message=self.board.message if self.board.halted else "",
        )


def _checkpoint_time(job: LaunchedRun) -> int | None:
    """Return when the checkpoint that the run resumes from was written, in ns; None if there is none."""
    return files.modified_ns(job.directory / "checkpoints" / "last.safetensors")
