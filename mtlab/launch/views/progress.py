"""The progress of running jobs, read from their `metrics.jsonl`: step, metric, time left."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from mtlab.files import read_jsonl_from
from mtlab.launch.board import Board, LaunchedRun
from mtlab.runs.results import numeric_rows


@dataclass
class RunProgress:
    """The progress of one job."""

    offset: int = 0
    step: int = 0
    metric: float | None = None  #: the last value of the choosing metric
    first_step: int | None = None  #: the first that was read
    first_time: float = 0.0
    last_time: float = 0.0  #: when something was added

    def read(self, job: LaunchedRun, metric: str) -> None:
        """Read what was added since the last call."""
        rows, self.offset = read_jsonl_from(job.directory / "metrics.jsonl", self.offset)
        for row in numeric_rows(rows):
            self.step = row["step"]
            if metric in row:
                self.metric = row[metric]
        if rows:
            self.last_time = time.monotonic()
            if self.first_step is None or self.step < self.first_step:
                self.first_step, self.first_time = self.step, self.last_time

    @property
    def seconds_per_step(self) -> float | None:
        """The pace so far; None before there is one."""
        if self.first_step is None or self.step <= self.first_step:
            return None
        return (self.last_time - self.first_time) / (self.step - self.first_step)

    def seconds_left(self, steps: int) -> float | None:
        """Estimate the seconds to the end; None before there is a pace."""
        pace = self.seconds_per_step
        return None if pace is None else max(0, steps - self.step) * pace


class LaunchProgress:
    """The progress of a launch: of all its running jobs, and of the whole."""

    def __init__(self) -> None:
        self.runs: dict[str, RunProgress] = {}
        self._started: float | None = None
        self._before: dict[str, float] = {}  #: run → its fraction that was done before this launch

    def read(self, board: Board) -> Mapping[str, RunProgress]:
        """Update all jobs that run, here or elsewhere; return their progress."""
        if self._started is None:
            self._started = time.monotonic()
        for job in board.jobs.values():  # more may be asked for meanwhile, and be done already
            if job.id not in self._before:
                self._before[job.id] = _fraction_before(job, board.metric)
        running = board.in_state("running", "elsewhere")
        for job in running:
            self.runs.setdefault(job.id, RunProgress()).read(job, board.metric)
            # It resumes from its last checkpoint, which may lie before what it had logged.
            self._before[job.id] = min(self._before.get(job.id, 0.0), self.fraction_done(job))
        return {job.id: self.runs[job.id] for job in running}

    def fraction_done(self, job: LaunchedRun) -> float:
        """Return the fraction of a job that is done, 0 to 1."""
        run = self.runs.get(job.id)
        if job.state == "done":
            return 1.0
        return self._before.get(job.id, 0.0) if run is None else min(1.0, run.step / job.steps)

    def seconds_left(self, board: Board) -> float | None:
        """Estimate the seconds to the end of the study; None before there is a pace."""
        wanted = board.in_state("done", "running", "elsewhere", "pending", "queued")
        weights = self._weights(board)
        done = sum(weights[job.cell] * (self.fraction_done(job) - self._before.get(job.id, 0.0)) for job in wanted)
        left = sum(weights[job.cell] * (1 - self.fraction_done(job)) for job in wanted)
        elapsed = time.monotonic() - (self._started or time.monotonic())
        return left * elapsed / done if done > 0 and elapsed > 0 else None

    def _weights(self, board: Board) -> dict[str, float]:
        """Weigh a cell's runs by the seconds that their steps take, by their FLOPs until one of them has a pace."""
        costs = {job.cell: job.cost for job in board.jobs.values()}
        seen: dict[str, list[float]] = defaultdict(list)
        for id_, run in self.runs.items():
            if (pace := run.seconds_per_step) is not None and (job := board.jobs.get(id_)) is not None:
                seen[job.cell].append(pace * job.steps)
        seconds = {cell: fmean(paces) for cell, paces in seen.items()}
        scale = sum(seconds.values()) / sum(costs[cell] for cell in seconds) if seconds else 1.0
        return {cell: seconds.get(cell, cost * scale) for cell, cost in costs.items()}


def _fraction_before(job: LaunchedRun, metric: str) -> float:
    """Return the fraction of a job that an earlier launch has done."""
    if job.state == "done":
        return 1.0
    run = RunProgress()
    run.read(job, metric)
    return min(1.0, run.step / job.steps)
