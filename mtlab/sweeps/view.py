"""What the user sees while a sweep runs: how far each variant's search is, and the runs that go on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from mtlab.launch.board import Board, Job, LaunchView
from mtlab.launch.live import HEARTBEAT, LiveView, PlainView, describe_job
from mtlab.launch.progress import format_duration
from mtlab.sweeps.driver import TrialEvent

if TYPE_CHECKING:
    from rich.console import Console, Group

    from mtlab.sweeps.search import Search

REFUSALS = 5  #: refused proposals that are told one by one
FRESH = 1.0  #: seconds for which what was read from the storage may be shown again


@dataclass(frozen=True)
class VariantProgress:
    """How far one variant's search is."""

    label: str
    ended: int
    budget: int
    running: int
    pruned: int
    failed: int
    best: float | None  #: of the first objective
    number: int | None  #: of the best trial


class SweepProgress:
    """Reads how far the searches are, not more often than is worth while, and how fast they go.

    Args:
        searches: one for each variant.

    """

    def __init__(self, searches: Sequence[Search]) -> None:
        self.searches = searches
        self._lines: list[VariantProgress] = []
        self._read: float | None = None
        self._began: tuple[float, int] | None = None  #: when, and the trials that had ended by then

    def lines(self) -> list[VariantProgress]:
        """Return a line per variant."""
        now = time.monotonic()
        if self._read is None or now - self._read >= FRESH:
            self._lines, self._read = [_line(search) for search in self.searches], now
        if self._began is None:
            self._began = now, sum(line.ended for line in self._lines)
        return self._lines

    def seconds_left(self) -> float | None:
        """Seconds to the end of all budgets at the pace so far; None before there is a pace."""
        lines = self.lines()
        began, before = self._began or (time.monotonic(), 0)
        ended = sum(line.ended for line in lines)
        left = sum(line.budget - line.ended for line in lines)
        return left * (time.monotonic() - began) / (ended - before) if ended > before else None


def _line(search: Search) -> VariantProgress:
    now = search.status()
    best = search.best()
    return VariantProgress(
        label=search.variant.label,
        ended=now.ended,
        budget=now.budget.trials,
        running=now.counts.get("running", 0),
        pruned=now.counts.get("pruned", 0),
        failed=now.counts.get("failed", 0),
        best=None if best is None else best[1],
        number=None if best is None else best[0],
    )


def make_sweep_view(
    searches: Sequence[Search], metric: str, stream: TextIO | None = None
) -> tuple[LaunchView, Callable[[TrialEvent], None]]:
    """Choose the view, as `live_view` does; return it, and what takes the news of trials.

    Args:
        searches: one for each variant.
        metric: the first objective.
        stream: where it is shown, by default stdout.

    """
    out = stream or sys.stdout
    if out.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
        from rich.console import Console

        live = LiveSweepView(Console(file=out, highlight=False), SweepProgress(searches), metric)
        return live, live.news
    plain = PlainSweepView(out, SweepProgress(searches), metric)
    return plain, plain.news


def describe_event(news: TrialEvent, metric: str) -> str:
    """Say in a line what happened to a trial."""
    value = "" if news.value is None else f" {metric} {news.value:.4f}"
    text = f": {news.text}" if news.text else ""
    return f"{news.word:<8} {news.trial}{value}{text}"


class PlainSweepView(PlainView):
    """Plain lines: what becomes of each trial, and every ten seconds how far all is."""

    def __init__(self, stream: TextIO, score: SweepProgress, metric: str, *, heartbeat: float = HEARTBEAT) -> None:
        super().__init__(stream, heartbeat=heartbeat)
        self.score = score
        self.metric = metric
        self._refused = 0

    def changed(self, job: Job) -> None:
        """Print retries of runs; what becomes of trials is news."""
        if job.state == "queued" and job.attempt:
            self._print(describe_job(job))

    def news(self, news: TrialEvent) -> None:
        """Print what happened to a trial; of many refusals the first few."""
        if news.word == "refused":
            self._refused += 1
        if news.word != "refused" or self._refused <= REFUSALS:
            self._print(describe_event(news, self.metric))
        if self._refused == REFUSALS and news.word == "refused":
            self._print("further refusals are counted: `mtlab sweep status` tells of all")

    def update(self, board: Board) -> None:
        """Print how far all is, if it is time to."""
        if board.message and board.message != self._message:
            self._message = board.message
            self._print(board.message)
        now = time.monotonic()
        if self._last is None or now - self._last >= self.heartbeat:
            self._last = now
            self._print(self._summary(board))

    def _summary(self, board: Board) -> str:
        self.progress.read(board)
        left = self.score.seconds_left()
        parts = [_short(line) for line in self.score.lines()]
        parts += [f"{self._refused} refused"] if self._refused else []
        parts += [f"about {format_duration(left)} left"] if left else []
        return f"{board.study}: {' | '.join(parts)}"


def _short(line: VariantProgress) -> str:
    best = "" if line.best is None else f" best {line.best:.4f}"
    return f"{line.label} {line.ended}/{line.budget}{best}"


class LiveSweepView(LiveView):
    """One view of the whole sweep on a terminal, redrawn in place."""

    def __init__(self, console: Console, score: SweepProgress, metric: str) -> None:
        super().__init__(console)
        self.score = score
        self.metric = metric

    def changed(self, job: Job) -> None:
        """Print retries of runs above the view; what becomes of trials is news."""
        if job.state == "queued" and job.attempt:
            self.console.print(describe_job(job), style="yellow", markup=False)

    def news(self, news: TrialEvent) -> None:
        """Print failures above the view; everything else is seen in it."""
        if news.word == "failed":
            self.console.print(describe_event(news, self.metric), style="red", markup=False)

    def render(self, board: Board) -> Group:
        """Draw a line for each variant's search, then one for each run that goes on."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        readings, lines = self.progress.read(board), self.score.lines()
        left = self.score.seconds_left()
        head = Text.assemble((board.study, "bold"), (f"  about {format_duration(left)} left" if left else "", "cyan"))
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
        for name in ("  variant", "", "trials", "pruned", "failed", f"best {self.metric}", "trial"):
            table.add_column(name, justify="left" if name in ("  variant", "") else "right", no_wrap=True)
        for line in lines:
            table.add_row(
                Text(f"  {line.label}", style="cyan"),
                ProgressBar(total=line.budget, completed=min(line.ended, line.budget), width=24),
                f"{line.ended}/{line.budget}",
                str(line.pruned or ""),
                str(line.failed or ""),
                "–" if line.best is None else f"{line.best:.4f}",
                "" if line.number is None else str(line.number),
            )
        running = board.among("running", "elsewhere")
        room = max(3, self.console.height - len(lines) - 5)
        parts: list[Table | Text] = [head, table]
        if running:
            parts.append(self._lines(board, running[:room], readings))
        if len(running) > room:
            parts.append(Text("  …", style="dim"))
        if board.message:
            parts.append(Text(board.message, style="yellow"))
        return Group(*parts)
