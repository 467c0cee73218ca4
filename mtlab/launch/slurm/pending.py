"""Which runs wait in a cluster's queue, for those who look on: asked of Slurm only where the store names a job.

Who looks on is not held up by a cluster: where Slurm is missing, refuses, or takes longer than `PATIENCE`, nothing is
known to wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from mtlab.runs.store import State

if TYPE_CHECKING:
    from mtlab.runs.store import Store

PATIENCE = 2.0  #: seconds that the queue may take to answer
#: How runs look from their folders till they begin.
WAITS: frozenset[State] = frozenset({"new", "interrupted", "failed"})


def submitted_jobs(store: Store, states: Mapping[str, State]) -> dict[str, int]:
    """Return the jobs that were submitted for runs of which no worker has begun: run → number."""
    found: dict[str, int] = {}
    for run, state in states.items():
        folder = store.run(run)
        if state in WAITS and (folder / "slurm" / "job.json").exists():
            from mtlab.launch.slurm.job import read_job  # costs time, which few stores need

            known = read_job(folder)
            if known is not None:
                found[run] = known[0]
    return found


@dataclass
class QueueCache:
    """What Slurm's queue says of jobs. May be asked from several threads.

    Args:
        fresh: seconds for which an answer holds.
        silence: seconds for which it is not asked again where it did not answer.

    """

    fresh: float = 0.0
    silence: float = 0.0
    _known: dict[int, tuple[float, bool]] = field(default_factory=dict)
    _silent: float | None = None  #: when it did not answer
    _lock: Lock = field(default_factory=Lock)

    def waiting(self, jobs: Iterable[int]) -> set[int]:
        """Return those of some jobs that wait for a place, as far as can be known; one question for all of them."""
        wanted = set(jobs)
        if not wanted:
            return set()
        from mtlab.launch.slurm.queue import SlurmError, query_jobs

        with self._lock:
            now = time.monotonic()
            unknown = {job for job in wanted if job not in self._known or now - self._known[job][0] > self.fresh}
            if unknown and (self._silent is None or now - self._silent > self.silence):
                try:
                    seen = query_jobs(unknown, patience=PATIENCE)
                    self._known |= {job: (now, job in seen and seen[job].pending) for job in unknown}
                    self._silent = None
                except SlurmError:
                    self._silent = time.monotonic()
            # An old answer is better than none while there is no new one.
            held = {job: pending for job, (at, pending) in self._known.items() if now - at <= self.fresh + self.silence}
            return {job for job in wanted if held.get(job)}
