"""What follows from a failure: another attempt, or the end of a cell or of the whole launch."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from mtlab.launch.board import LaunchedRun
from mtlab.launch.exit_status import RunFailure
from mtlab.runs.lock import PATIENCE


@dataclass(frozen=True)
class LaunchPolicy:
    """Retries, time limits, and what stops a launch."""

    retries: int = 2  #: further attempts at a run whose worker was killed
    fail_fast: bool = False  #: the first failure stops the launch
    keep_going: bool = False  #: no failure stops more than its own run and its descendants
    grace: float = 60.0  #: seconds that workers have to stop before they are killed
    limit: float = math.inf  #: seconds that one attempt at a run may take
    patience: float = PATIENCE  #: seconds without a heartbeat after which a lock of another host is stale


class FailureTracker:
    """Decides what the failures of a launch stop.

    Args:
        policy: of the launch.

    """

    def __init__(self, policy: LaunchPolicy) -> None:
        self.policy = policy
        self.closed_cells: dict[str, str] = {}  #: cells of which no further seed is started, and why
        self._cells_of: dict[tuple[str, str], set[str]] = defaultdict(set)  #: cells by signature of a failure

    def grant_retry(self, job: LaunchedRun, failure: RunFailure, *, progressed: bool) -> bool:
        """Return whether another attempt follows, and count a kill.

        Killed workers are retried as often as the policy allows; those that a cluster ended after their time, as long
        as they progress.

        Args:
            job: the run, with its count of kills.
            failure: why its last attempt ended.
            progressed: did that attempt write a checkpoint?

        """
        if failure.kind == "killed":
            job.kills += 1
            return job.kills <= self.policy.retries
        return failure.kind == "timeout" and not job.timed_out and progressed

    def record(self, job: LaunchedRun, failure: RunFailure) -> str | None:
        """Record the final failure of a run; return why it stops the launch, or None if it does not."""
        if failure.kind == "disk":
            return f"stopped: {failure.error}; {failure.advice}"
        if self.policy.fail_fast:
            return f"stopped at the first failure: {job.name}"
        if self.policy.keep_going:
            return None
        if failure.stops_cell:
            self.closed_cells[job.cell] = f"seed {job.seed} failed: {failure}"
        if failure.signature is not None:
            cells = self._cells_of[failure.signature]
            cells.add(job.cell)
            if len(cells) > 1:
                return f"stopped: the same failure in two cells, {failure.error} ({failure.where})"
        return None
