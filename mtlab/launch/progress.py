"""How far running jobs have come, read from their directories as they write: step, metric, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from mtlab.files import read_jsonl_from
from mtlab.launch.board import Board, Job
from mtlab.runs.results import numeric_rows


@dataclass
class RunProgress:
    """What a job's `metrics.jsonl` has told so far."""

    offset: int = 0
    step: int = 0
    metric: float | None = None  #: the last value of the choosing metric
    first_step: int | None = None  #: where this launcher began to look
    first_time: float = 0.0

    def read(self, job: Job, metric: str) -> None:
        """Read on."""
        rows, self.offset = read_jsonl_from(job.directory / "metrics.jsonl", self.offset)
        for row in numeric_rows(rows):
            self.step = row["step"]
            if metric in row:
                self.metric = row[metric]
        if rows and (self.first_step is None or self.step < self.first_step):
            self.first_step, self.first_time = self.step, time.monotonic()

    def seconds_left(self, steps: int) -> float | None:
        """Seconds to the end at the pace so far; None before there is a pace."""
        if self.first_step is None or self.step <= self.first_step:
            return None
        return (steps - self.step) * (time.monotonic() - self.first_time) / (self.step - self.first_step)


class LaunchProgress:
    """Readings of all jobs that were seen running, and the pace of the whole."""

    def __init__(self) -> None:
        self.readings: dict[str, RunProgress] = {}
        self._started: float | None = None
        self._before: float = 0.0  #: work that was done when this launch began

    def read(self, board: Board) -> Mapping[str, RunProgress]:
        """Read on for all jobs that run, here or elsewhere; return their readings."""
        if self._started is None:
            self._started = time.monotonic()
            self._before = sum(job.work for job in board.in_state("done"))
        running = board.in_state("running", "elsewhere")
        for job in running:
            self.readings.setdefault(job.id, RunProgress()).read(job, board.metric)
        return {job.id: self.readings[job.id] for job in running}

    def share(self, job: Job) -> float:
        """How much of a job is done, 0 to 1."""
        reading = self.readings.get(job.id)
        return 1.0 if job.state == "done" else min(1.0, reading.step / job.steps) if reading is not None else 0.0

    def seconds_left(self, board: Board) -> float | None:
        """Seconds to the end of the study at the pace so far; None before there is a pace."""
        asked = board.in_state("done", "running", "elsewhere", "pending", "queued")
        done = sum(job.work * self.share(job) for job in asked) - self._before
        left = sum(job.work * (1 - self.share(job)) for job in asked)
        elapsed = time.monotonic() - (self._started or time.monotonic())
        return left * elapsed / done if done > 0 and elapsed > 0 else None


def format_duration(seconds: float | None) -> str:
    """Write a duration as people say it.

    >>> clock(42.1), clock(200), clock(7300), clock(200_000), clock(None)
    ('42 s', '3 min 20 s', '2 h 1 min', '2 d 7 h', '–')
    """
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole < 600 and whole % 60 else "")
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
