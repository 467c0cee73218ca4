"""Executes runs on a Slurm cluster: a job for each, and one query of the queue for all of them.

The launcher stays where it was started, on a login node. Run directories lie where all nodes see them. If the launcher
dies, its jobs continue; the next launcher takes them over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.pool import Attempt
from mtlab.launch.slurm.job import FOLDER, forget_job, read_job, submit_or_find
from mtlab.launch.slurm.queue import JobInfo, SlurmError, cancel, query_jobs
from mtlab.launch.workers import Command, thread_variables, threads_of, worker_command
from mtlab.processes import EXIT_FAILED
from mtlab.runs.lock import lock_path

#: Seconds between queries of the queue: after something has happened, and at most.
INTERVALS = (1.0, 10.0)
TRIES = 5  #: attempts at submitting a job that Slurm refuses
CONFIRMATIONS = 3  #: queries in which a job must be lost, or unknown, before it counts as ended


@dataclass(eq=False)
class SlurmPool:
    """A Slurm cluster."""

    at_once: int  #: jobs at once, those in the queue included
    options: Mapping[str, Any]  #: of jobs, see `mtlab.launch.slurm.job.make_executor`; GPUs for runs that use them
    cpus: int = 1  #: CPU cores of a run; more if its threads need more
    command: Command = worker_command
    processes: int = 1  #: of a run, each with its threads
    _: KW_ONLY
    submit: Callable[[Path, Sequence[str], Mapping[str, str], Mapping[str, Any]], int] = submit_or_find
    query: Callable[[Iterable[int]], Mapping[int, JobInfo]] = query_jobs
    intervals: tuple[float, float] = INTERVALS
    #: one submission at a time: thousands at once would overload the queue
    submitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _jobs: dict[int, _Job] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SlurmPool:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def start(self, run: Path, config: Mapping[str, Any]) -> Attempt:
        """Make an attempt, whose job is submitted by its `wait`; see `Pool.start`."""
        return _Job(self, run, config)

    def adopt(self, run: Path) -> Attempt | None:
        """Take over the job of a launcher that is gone; see `Pool.adopt`."""
        known = read_job(run)
        if known is None or known[1].alive():
            return None
        return _Job(self, run, None, known[0])

    def follow(self, job: _Job) -> None:
        """Watch a job from now on."""
        if job.number is not None:
            self._jobs[job.number] = job
            self._wake.set()

    async def _watch(self) -> None:
        """Query the queue until cancelled: often where things happen, rarely where not."""
        try:
            await self._poll_queue()
        except Exception as error:  # who waits for a job must get it, instead of waiting for ever
            for job in self._jobs.values():
                if not job.ended.done():
                    job.ended.set_exception(error)
            raise

    async def _poll_queue(self) -> None:
        shortest, longest = self.intervals
        pause, waited, existing = shortest, 0.0, self._run_files()
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), shortest)
            before, existing, waited = existing, self._run_files(), waited + shortest
            happened = self._wake.is_set() or existing != before
            self._wake.clear()
            if not happened and waited < pause:
                continue
            changed, waited = False, 0.0
            try:
                await self._stop()
                if self._jobs:
                    changed = self._update(await asyncio.to_thread(self.query, tuple(self._jobs)))
            except SlurmError:
                pause = longest  # the controller restarts or is busy: jobs continue meanwhile
            else:
                pause = shortest if changed or happened else min(longest, pause * 1.3)

    def _run_files(self) -> dict[int, tuple[bool, bool]]:
        """Return which runs have a lock and a result: a worker that begins or ends is a reason to query the queue."""
        return {
            number: (lock_path(job.run).exists(), (job.run / "result.json").exists())
            for number, job in self._jobs.items()
        }

    def _update(self, infos: Mapping[int, JobInfo]) -> bool:
        """Update all jobs; return whether any has changed."""
        changed = False
        for number, job in list(self._jobs.items()):
            changed |= job.update(infos.get(number))
            if job.ended.done():
                del self._jobs[number]
        return changed

    async def _stop(self) -> None:
        """Cancel the jobs that are to be stopped, all with one command."""
        for force in (False, True):
            jobs = [job for job in self._jobs.values() if job.stopping and job.killing == force and not job.cancelled]
            if jobs:
                await asyncio.to_thread(cancel, [job.number for job in jobs if job.number is not None], force=force)
                for job in jobs:
                    job.cancelled = True

    def wake(self) -> None:
        """Query the queue at once."""
        self._wake.set()


class _Job:
    """The job of one run."""

    def __init__(self, pool: SlurmPool, run: Path, config: Mapping[str, Any] | None, number: int | None = None) -> None:
        self.pool = pool
        self.run = run
        self.config = config
        self.number = number
        self.stopping = False
        self.killing = False
        self.cancelled = False  #: has the last request to stop been passed on?
        self.ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._pending = number is None
        self._unconfirmed = 0
        self._failure = files.modified_ns(run / "failure.json")  #: of an earlier attempt

    @property
    def pending(self) -> bool:
        """Does it wait in the queue?"""
        return self._pending

    @property
    def details(self) -> Mapping[str, Any]:
        """Its number, once it has one."""
        return {} if self.number is None else {"job": self.number}

    async def wait(self) -> ExitStatus:
        """Submit it, if that has not been done, and wait for its end."""
        if self.number is None:
            refused = await self._submit()
            if refused is not None:
                return refused
        self.pool.follow(self)
        status = await self.ended
        await asyncio.to_thread(forget_job, self.run, self.number or 0)
        return status

    def stop(self, *, force: bool = False) -> None:
        """Cancel it: its worker writes a checkpoint first, unless by force."""
        if force and not self.killing:
            self.killing, self.cancelled = True, False
        self.stopping = True
        self.pool.wake()

    def update(self, info: JobInfo | None) -> bool:
        """Update its state from the queue, None if that does not know it; return whether it has changed."""
        if info is not None and info.active:
            changed = self._pending != info.pending
            self._pending, self._unconfirmed = info.pending, 0
            return changed
        if info is None or info.state in ("PREEMPTED", "NODE_FAIL"):  # it may be requeued, or the queue be behind
            self._unconfirmed += 1
            if self._unconfirmed < CONFIRMATIONS:
                return True
        self._pending = self._pending and info is None
        self.ended.set_result(self._exit_status(info))
        return True

    def _exit_status(self, info: JobInfo | None) -> ExitStatus:
        if info is None:
            if files.modified_ns(self.run / "failure.json") not in (None, self._failure):
                return ExitStatus(EXIT_FAILED)
            return ExitStatus(None, None, f"job {self.number}: the queue does not know it any more")
        status, log = info.exit_status(), self.run / "log.txt"
        silent = not log.exists() or log.stat().st_size == 0
        return ExitStatus(
            status.code, status.kind, status.cause, f"{FOLDER}/{self.number}_0_log.err" if silent else status.log
        )

    async def _submit(self) -> ExitStatus | None:
        """Submit it, with retries; return why Slurm refuses it, None once it is submitted."""
        assert self.config is not None
        threads = threads_of(self.config)
        options = {**self.pool.options, "cpus_per_task": max(self.pool.cpus, self.pool.processes * threads)}
        if self.config["config"]["train"].get("device") == "cpu":  # others of the study may use GPUs
            options["gpus_per_node"] = None
        command, tries = list(self.pool.command(self.run)), 0
        while not self.stopping:
            try:
                async with self.pool.submitting:
                    if self.stopping:
                        break
                    self.number = await asyncio.to_thread(
                        self.pool.submit, self.run, command, thread_variables(threads), options
                    )
                return None
            except SlurmError as error:
                full = "Limit" in str(error) and "Time limit" not in str(
                    error
                )  # the user has too many jobs: wait for room
                tries += not full
                if tries >= TRIES:
                    return ExitStatus(None, "input", f"Slurm refused the job: {error}")
                await asyncio.sleep(2.0**tries)
        return ExitStatus(143)
