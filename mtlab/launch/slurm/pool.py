"""Executes runs on a Slurm cluster: a job for each, or an array of many, and one query of the queue for all of them.

The launcher stays where it was started, on a login node. Run directories lie where all nodes see them. If the launcher
dies, its jobs continue; the next launcher takes them over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.pool import Attempt
from mtlab.launch.slurm.job import (
    Submission,
    forget_job,
    read_job,
    slurm_log,
    submit_or_find,
    submit_or_find_all,
    take_over,
)
from mtlab.launch.slurm.queue import JobId, JobInfo, QueueFullError, SlurmError, cancel, query_jobs
from mtlab.launch.workers import Command, thread_variables, threads_of, worker_command
from mtlab.processes import EXIT_FAILED
from mtlab.runs.lock import lock_path

#: Seconds between queries of the queue: after something has happened, and at most.
INTERVALS = (1.0, 10.0)
GATHER = 0.2  #: seconds in which runs that become free are submitted as one array
LARGEST_ARRAY = 500  #: jobs: Slurm takes 1,001 by default, and a process may open 1,024 files, one for each run
TRIES = 5  #: attempts at submitting a job that Slurm refuses
LEFT = ExitStatus(143)  #: of a job that another launcher goes on with
CONFIRMATIONS = 3  #: queries in which a job must be lost, or unknown, before it counts as ended


@dataclass(eq=False)
class SlurmPool:
    """A Slurm cluster."""

    at_once: int  #: jobs at once, those in the queue included
    options: Mapping[str, Any]  #: of jobs, see `mtlab.launch.slurm.job.make_executor`; GPUs for runs that use them
    cpus: int = 1  #: CPU cores of a run; more if its threads need more
    command: Command = worker_command
    processes: int = 1  #: of a run, each with its threads
    array: bool = False  #: submit the jobs of runs that become free at the same moment as one array?
    _: KW_ONLY
    submit: Callable[[Path, Sequence[str], Mapping[str, str], Mapping[str, Any]], JobId] = submit_or_find
    query: Callable[[Iterable[JobId]], Mapping[JobId, JobInfo]] = query_jobs
    intervals: tuple[float, float] = INTERVALS
    #: one submission at a time: thousands at once would overload the queue
    submitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _jobs: dict[JobId, _Job] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _watching: asyncio.Task[None] | None = None
    _gathered: list[_Gathered] = field(default_factory=list)
    _gathering: asyncio.Task[None] | None = None  #: waits for others to be submitted with the first

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
        """Take over the job of a launcher that is gone, or may be; see `Pool.adopt`."""
        known = read_job(run)
        if known is None or known[1].alive():
            return None
        return _Job(self, run, None, known[0])

    async def submit_job(self, job: _Job, submission: Submission, options: Mapping[str, Any]) -> JobId | None:
        """Submit a job by itself, or in an array with others of the same moment; None if it was stopped before.

        Raises:
            SlurmError: Slurm does not accept it now.

        """
        if not self.array:
            async with self.submitting:
                return None if job.stopping else await asyncio.to_thread(self.submit, *submission, options)
        number: asyncio.Future[JobId | None] = asyncio.get_running_loop().create_future()
        self._gathered.append((job, submission, options, number))
        if len(self._gathered) == 1:
            self._gathering = asyncio.create_task(self._submit_gathered())
        return await number

    async def _submit_gathered(self) -> None:
        """Submit what is gathered within a moment, one array for each kind of job."""
        await asyncio.sleep(GATHER)
        async with self.submitting:
            gathered, self._gathered = self._gathered, []
            for job, *_, number in gathered:
                if job.stopping:
                    number.set_result(None)
            waiting = [each for each in gathered if not each[0].stopping]
            while waiting:
                options = waiting[0][2]
                alike = [each for each in waiting if each[2] == options][:LARGEST_ARRAY]
                waiting = [each for each in waiting if each not in alike]
                try:
                    numbers = await asyncio.to_thread(submit_or_find_all, [each[1] for each in alike], options)
                except QueueFullError as error:  # there may be room for some of them
                    half = len(alike) // 2
                    waiting = alike[:half] + waiting
                    for *_, number in alike[half:]:
                        number.set_exception(error)
                except Exception as error:  # each of them must get it, instead of waiting for ever
                    for *_, number in alike:
                        number.set_exception(error)
                else:
                    for (*_, number), submitted in zip(alike, numbers, strict=True):
                        number.set_result(submitted)

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

    def _run_files(self) -> dict[JobId, tuple[bool, bool]]:
        """Return which runs have a lock and a result: a worker that begins or ends is a reason to query the queue."""
        return {
            # `os.path`, which takes a disk that does not answer for a moment as no file
            number: (os.path.exists(lock_path(job.run)), os.path.exists(job.run / "result.json"))
            for number, job in self._jobs.items()
        }

    def _update(self, infos: Mapping[JobId, JobInfo]) -> bool:
        """Update all jobs; return whether any has changed."""
        changed = False
        for number, job in list(self._jobs.items()):
            changed |= job.ended.done() or job.update(infos.get(number))
            if job.ended.done():
                del self._jobs[number]
        return changed

    async def _stop(self) -> None:
        """Cancel the jobs that are to be stopped, all with one command."""
        for force in (False, True):
            jobs = [job for job in self._jobs.values() if job.stopping and job.killing == force and not job.cancelled]
            if not jobs:
                continue
            with suppress(SlurmError):  # some may be ending, and take no signal: they are asked again after the query
                await asyncio.to_thread(cancel, [job.number for job in jobs if job.number is not None], force=force)
                for job in jobs:
                    job.cancelled = True

    def wake(self) -> None:
        """Query the queue at once."""
        self._wake.set()


#: a job that is to be submitted with others, with its options; and what becomes its number
_Gathered = tuple["_Job", Submission, Mapping[str, Any], "asyncio.Future[JobId | None]"]


class _Job:
    """The job of one run."""

    def __init__(
        self, pool: SlurmPool, run: Path, config: Mapping[str, Any] | None, number: JobId | None = None
    ) -> None:
        self.pool = pool
        self.run = run
        self.config = config
        self.number = number
        self.stopping = False
        self.killing = False
        self.cancelled = False  #: has the last request to stop been passed on?
        self._others = False  #: is it that of another launcher, which may live? It is watched, then, never cancelled
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
        assert self.number is not None
        self._others = not await asyncio.to_thread(take_over, self.run, self.number)
        if self._others and self.stopping:
            return LEFT
        self.pool.follow(self)
        status = await self.ended
        if status is not LEFT:
            await asyncio.to_thread(forget_job, self.run, self.number)
        return status

    def stop(self, *, force: bool = False) -> None:
        """Cancel it: its worker writes a checkpoint first, unless by force. Another launcher's goes on."""
        if self._others:
            if not self.ended.done():
                self.ended.set_result(LEFT)
            return
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
            status.code, status.kind, status.cause, slurm_log(self.run, self.number or 0) if silent else status.log
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
                submission = Submission(self.run, command, thread_variables(threads))
                self.number = await self.pool.submit_job(self, submission, options)
                if self.number is not None:
                    return None
            except SlurmError as error:
                full = isinstance(error, QueueFullError)  # of this user's jobs: wait for room
                tries += not full
                if tries >= TRIES:
                    return ExitStatus(None, "input", f"Slurm refused the job: {error}")
                await asyncio.sleep(self.pool.intervals[1] if full else 2.0**tries)
        return ExitStatus(143)
