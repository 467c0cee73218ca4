"""Runs on a Slurm cluster: a job each, by submitit; one look at the queue for all of them.

The launcher stays where it was started, on a login node. Run directories lie where all nodes see them. If the launcher
dies, its jobs go on; the next one takes them over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mtlab import files
from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.pool import Attempt
from mtlab.launch.slurm.job import FOLDER, forget_job, read_job, submit_or_find
from mtlab.launch.slurm.queue import JobInfo, SlurmError, cancel, query_jobs_async
from mtlab.launch.workers import Command, thread_variables, threads_of, worker_command
from mtlab.processes import EXIT_FAILED
from mtlab.runs.lock import lock_path

SOON, LATE = 1.0, 10.0  #: seconds between looks at the queue: after something has happened, and when nothing does
TRIES = 5  #: attempts at submitting a job that Slurm refuses
CALLS = 3  #: looks in which the queue must say the same, or say nothing, of a job that may yet come back


class SlurmPool:
    """A Slurm cluster.

    Args:
        at_once: jobs at once, those that wait in the queue included.
        options: of every job, see `mtlab.launch.slurm.job.make_executor`.
        cpus: CPU cores of a run; more if its threads need more.
        command: how to start a worker.
        processes: that this makes of a run, each with its threads.

    """

    def __init__(
        self,
        at_once: int,
        options: Mapping[str, Any],
        cpus: int = 1,
        command: Command = worker_command,
        processes: int = 1,
    ) -> None:
        self.at_once = at_once
        self.options = dict(options)
        self.cpus = cpus
        self.command = command
        self.processes = processes
        self.submitting = asyncio.Lock()  # one at a time: thousands at once would be the queue's end
        self._jobs: dict[int, _Job] = {}
        self._happened = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SlurmPool:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def start(self, run: Path, config: Mapping[str, Any]) -> Attempt:
        """Submit a job, by and by; see `Pool.start`."""
        return _Job(self, run, config)

    def adopt(self, run: Path) -> Attempt | None:
        """Take over the job of a launcher that is gone; see `Pool.adopt`."""
        known = read_job(run)
        if known is None or known[1].alive():
            return None
        return _Job(self, run, None, known[0])

    def follow(self, job: _Job) -> None:
        """Look after a job from now on."""
        if job.number is not None:
            self._jobs[job.number] = job
            self._happened.set()

    async def _watch(self) -> None:
        """Look at the queue until cancelled: often where things happen, seldom where not."""
        try:
            await self._look_on()
        except Exception as error:  # whoever waits for a job must hear of it, and not for ever wait
            for job in self._jobs.values():
                if not job.ended.done():
                    job.ended.set_exception(error)
            raise

    async def _look_on(self) -> None:
        pause, waited, signs = SOON, 0.0, self._signs()
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._happened.wait(), SOON)
            before, signs, waited = signs, self._signs(), waited + SOON
            happened = self._happened.is_set() or signs != before
            self._happened.clear()
            if not happened and waited < pause:
                continue
            changed, waited = False, 0.0
            try:
                await self._stop()
                if self._jobs:
                    changed = self._take(await query_jobs_async(self._jobs))
            except SlurmError:
                pause = LATE  # a controller that restarts, or is busy: jobs go on meanwhile
            else:
                pause = SOON if changed or happened else min(LATE, pause * 1.3)

    def _signs(self) -> dict[int, tuple[bool, bool]]:
        """Tell what the run directories say: a worker that begins or ends is worth a look at the queue."""
        return {
            number: (lock_path(job.run).exists(), (job.run / "result.json").exists())
            for number, job in self._jobs.items()
        }

    def _take(self, seen: Mapping[int, JobInfo]) -> bool:
        """Take in what the queue says; tell whether anything is new."""
        changed = False
        for number, job in list(self._jobs.items()):
            changed |= job.take(seen.get(number))
            if job.ended.done():
                del self._jobs[number]
        return changed

    async def _stop(self) -> None:
        """Cancel the jobs that are to be stopped, all with one command."""
        for force in (False, True):
            asked = [job for job in self._jobs.values() if job.stopping and job.killing == force and not job.told]
            if asked:
                await asyncio.to_thread(cancel, [job.number for job in asked if job.number is not None], force=force)
                for job in asked:
                    job.told = True

    def hurry(self) -> None:
        """Look at the queue at once."""
        self._happened.set()


class _Job:
    """The job of one run."""

    def __init__(self, pool: SlurmPool, run: Path, config: Mapping[str, Any] | None, number: int | None = None) -> None:
        self.pool = pool
        self.run = run
        self.config = config
        self.number = number
        self.stopping = False
        self.killing = False
        self.told = False  #: has the last wish to stop been passed on?
        self.ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._pending = number is None
        self._doubts = 0
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
        """Submit it, if that was not done, and wait for its end."""
        if self.number is None:
            refused = await self._submit()
            if refused is not None:
                return refused
        self.pool.follow(self)
        end = await self.ended
        await asyncio.to_thread(forget_job, self.run, self.number or 0)
        return end

    def stop(self, *, force: bool = False) -> None:
        """Cancel it: its worker keeps its state first, unless by force."""
        if force and not self.killing:
            self.killing, self.told = True, False
        self.stopping = True
        self.pool.hurry()

    def take(self, seen: JobInfo | None) -> bool:
        """Take in what the queue says of it; tell whether that is news."""
        if seen is not None and seen.active:
            changed = self._pending != seen.pending
            self._pending, self._doubts = seen.pending, 0
            return changed
        if seen is None or seen.state in ("PREEMPTED", "NODE_FAIL"):  # the queue may put it back, or be out of step
            self._doubts += 1
            if self._doubts < CALLS:
                return True
        self._pending = self._pending and seen is None
        self.ended.set_result(self._end(seen))
        return True

    def _end(self, seen: JobInfo | None) -> ExitStatus:
        if seen is None:
            if files.modified_ns(self.run / "failure.json") not in (None, self._failure):
                return ExitStatus(EXIT_FAILED)
            return ExitStatus(None, None, f"job {self.number}: the queue does not know it any more")
        end, log = seen.end(), self.run / "log.txt"
        silent = not log.exists() or log.stat().st_size == 0
        return ExitStatus(end.code, end.kind, end.cause, f"{FOLDER}/{self.number}_0_log.err" if silent else end.log)

    async def _submit(self) -> ExitStatus | None:
        """Submit it; where Slurm refuses, be patient, and at last tell why."""
        assert self.config is not None
        threads = threads_of(self.config)
        options = {**self.pool.options, "cpus_per_task": max(self.pool.cpus, self.pool.processes * threads)}
        command, tries = list(self.pool.command(self.run)), 0
        while not self.stopping:
            try:
                async with self.pool.submitting:
                    if self.stopping:
                        break
                    self.number = await asyncio.to_thread(
                        submit_or_find, self.run, command, thread_variables(threads), options
                    )
                return None
            except SlurmError as error:
                full = "Limit" in str(error) and "Time limit" not in str(error)  # too many of one's own: wait for room
                tries += not full
                if tries >= TRIES:
                    return ExitStatus(None, "input", f"Slurm refused the job: {error}")
                await asyncio.sleep(2.0**tries)
        return ExitStatus(143)
