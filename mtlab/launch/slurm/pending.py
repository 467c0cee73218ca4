"""Which runs wait in a cluster's queue, for `mtlab status` and the dashboard.

Slurm is queried only if a run directory records a job. Where it is missing, refuses, or takes longer than `TIMEOUT`,
no run counts as waiting.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from mtlab.launch.slurm.job import read_job
from mtlab.launch.slurm.queue import JobId, SlurmError, query_jobs
from mtlab.runs.store import State

if TYPE_CHECKING:
    from mtlab.runs.store import Store

TIMEOUT = 2.0  #: seconds that the queue may take to answer
#: States of runs whose worker has not begun.
NOT_BEGUN: frozenset[State] = frozenset({"new", "interrupted", "failed"})


def submitted_jobs(store: Store, states: Mapping[str, State]) -> dict[str, JobId]:
    """Return the jobs that were submitted for runs whose worker has not begun: run → job number."""
    jobs: dict[str, JobId] = {}
    for run, state in states.items():
        folder = store.run(run)
        if state in NOT_BEGUN and (folder / "slurm" / "job.json").exists():
            known = read_job(folder)
            if known is not None:
                jobs[run] = known[0]
    return jobs


@dataclass
class QueueCache:
    """A cache of the states of jobs in Slurm's queue. May be used from several threads.

    Args:
        max_age: seconds after which a job is queried again.
        retry_after: seconds without a query after one that failed.

    """

    max_age: float = 0.0
    retry_after: float = 0.0
    _known: dict[JobId, tuple[float, bool]] = field(default_factory=dict)
    _failed_at: float | None = None
    _lock: Lock = field(default_factory=Lock)

    def pending(self, jobs: Iterable[JobId]) -> set[JobId]:
        """Return those of some jobs that wait in the queue, as far as is known, with one query for all of them."""
        wanted = set(jobs)
        if not wanted:
            return set()
        with self._lock:
            now = time.monotonic()
            unknown = {job for job in wanted if job not in self._known or now - self._known[job][0] > self.max_age}
            if unknown and (self._failed_at is None or now - self._failed_at > self.retry_after):
                try:
                    infos = query_jobs(unknown, timeout=TIMEOUT)
                    self._known |= {job: (now, job in infos and infos[job].pending) for job in unknown}
                    self._failed_at = None
                except SlurmError:
                    self._failed_at = time.monotonic()
            # An old answer is better than none while there is no new one.
            held = {
                job: pending
                for job, (at, pending) in self._known.items()
                if now - at <= self.max_age + self.retry_after
            }
            return {job for job in wanted if held.get(job)}
