"""The terminal view of a running sweep: the progress of each variant's search, and the running runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from mtlab.launch.board import Board, LaunchedRun, LaunchView
from mtlab.launch.views.live import HEARTBEAT, LiveView, PlainView, can_redraw, describe_job
from mtlab.sweeps.driver import TrialEvent
from mtlab.units import format_duration, format_metric

if TYPE_CHECKING:
    from rich.console import Console, Group

    from mtlab.sweeps.search import Search

REFUSALS = 5  #: refused proposals that are printed one by one
SHOWN = 6  #: variants of which a plain line shows each; of more, a total
MAX_AGE = 1.0  #: seconds after which the storage is read again


@dataclass(frozen=True)
class VariantProgress:
    """The progress of one variant's search."""

    label: str
    ended: int
    budget: int
    complete: bool
    running: int
    pruned: int
    failed: int
    best: float | None  #: of the first objective
    number: int | None  #: of the best trial


class SweepProgress:
    """The progress of all searches, read from the storage at most once in `MAX_AGE` seconds.

    Args:
        searches: one for each variant.

    """

    def __init__(self, searches: Sequence[Search]) -> None:
        self.searches = searches
        self._variants: list[VariantProgress] = []
        self._read_at: float | None = None
        self._first: tuple[float, int] | None = None  #: when, and the trials that had ended by then
        self._last = (0.0, 0)  #: the same when that number last changed

    def variants(self) -> list[VariantProgress]:
        """Return the progress of each variant."""
        now = time.monotonic()
        if self._read_at is None or now - self._read_at >= MAX_AGE:
            self._variants, self._read_at = [_variant_progress(search) for search in self.searches], now
        ended = sum(line.ended for line in self._variants)
        if self._first is None:
            self._first = self._last = now, ended
        if ended != self._last[1]:
            self._last = now, ended
        return self._variants

    def seconds_left(self) -> float | None:
        """Estimate the seconds until all budgets are used up; None before a trial has ended here.

        While trials run it counts down, by one trial's share at most.
        """
        left = sum(line.budget - line.ended for line in self.variants() if not line.complete)
        (began, before), (last, ended) = self._first or self._last, self._last
        if not left or ended <= before:
            return None if left else 0.0
        share = (last - began) / (ended - before)
        return left * share - min(time.monotonic() - last, share)


def _variant_progress(search: Search) -> VariantProgress:
    now = search.status()
    best = search.best()
    return VariantProgress(
        label=search.variant.label,
        ended=now.ended,
        budget=now.budget.trials,
        complete=now.complete,
        running=now.counts.get("running", 0),
        pruned=now.counts.get("pruned", 0),
        failed=now.counts.get("failed", 0),
        best=None if best is None else best[1],
        number=None if best is None else best[0],
    )


def make_sweep_view(
    searches: Sequence[Search], metric: str, stream: TextIO | None = None
) -> tuple[LaunchView, Callable[[TrialEvent], None]]:
    """Choose the view, as `make_view` does; return it, and its callback for events of trials.

    Args:
        searches: one for each variant.
        metric: the first objective.
        stream: the output, by default stdout.

    """
    out = stream or sys.stdout
    if can_redraw(out):
        from rich.console import Console

        live = LiveSweepView(Console(file=out, highlight=False), SweepProgress(searches), metric)
        return live, live.on_event
    plain = PlainSweepView(out, SweepProgress(searches), metric)
    return plain, plain.on_event


def describe_event(event: TrialEvent, metric: str) -> str:
    """Describe an event in a line."""
    value = "" if event.value is None else f" {metric} {format_metric(event.value, metric)}"
    text = f": {event.text}" if event.text else ""
    return f"{event.state:<8} {event.trial}{value}{text}"


class PlainSweepView(PlainView):
    """Plain lines: a line for each event of a trial, and every ten seconds the progress."""

    def __init__(self, stream: TextIO, score: SweepProgress, metric: str, *, heartbeat: float = HEARTBEAT) -> None:
        super().__init__(stream, heartbeat=heartbeat)
        self.score = score
        self.metric = metric
        self._refused = 0

    def changed(self, job: LaunchedRun) -> None:
        """Print retries of runs; trials have events."""
        if job.state == "queued" and job.attempt:
            self._print(describe_job(job))

    def on_event(self, event: TrialEvent) -> None:
        """Print an event of a trial; of many refusals the first few."""
        if event.state == "refused":
            self._refused += 1
        if event.state != "refused" or self._refused <= REFUSALS:
            self._print(describe_event(event, self.metric))
        if self._refused == REFUSALS and event.state == "refused":
            self._print("further refusals are counted: `mtlab sweep status` shows all")

    def _opening(self, board: Board) -> str:
        return self._summary(board)

    def _summary(self, board: Board) -> str:
        self.progress.read(board)
        left, lines = self.score.seconds_left(), self.score.variants()
        parts = [_short(line, self.metric) for line in lines] if len(lines) <= SHOWN else [describe_total(lines)]
        parts += [f"{self._refused} refused"] if self._refused else []
        parts += [f"about {format_duration(left)} of search left"] if left else []
        return f"{board.study}: {' | '.join(parts)}"


def describe_total(lines: Sequence[VariantProgress]) -> str:
    """Describe the progress of all variants together."""
    ended, budget = sum(line.ended for line in lines), sum(line.budget for line in lines)
    counted = {name: sum(getattr(line, name) for line in lines) for name in ("running", "pruned", "failed")}
    counts = "".join(f", {count} {name}" for name, count in counted.items() if count)
    searching = sum(not line.complete for line in lines)
    return f"{ended}/{budget} trials{counts} | {searching} of {len(lines)} variants still search"


def _short(line: VariantProgress, metric: str) -> str:
    best = "" if line.best is None else f" best {format_metric(line.best, metric)}"
    return f"{line.label} {line.ended}/{line.budget}{best}"


class LiveSweepView(LiveView):
    """One view of the whole sweep on a terminal, redrawn in place."""

    def __init__(self, console: Console, score: SweepProgress, metric: str) -> None:
        super().__init__(console)
        self.score = score
        self.metric = metric

    def changed(self, job: LaunchedRun) -> None:
        """Print retries of runs above the view; trials have events."""
        if job.state == "queued" and job.attempt:
            self.console.print(describe_job(job), style="yellow", markup=False)

    def on_event(self, event: TrialEvent) -> None:
        """Print failures above the view; everything else is in it."""
        if event.state == "failed":
            self.console.print(describe_event(event, self.metric), style="red", markup=False)

    def render(self, board: Board) -> Group:
        """Draw a line for each variant's search, or their total where there is no room, and each running run."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        readings, lines = self.progress.read(board), self.score.variants()
        left = self.score.seconds_left()
        head = Text.assemble(
            (board.study, "bold"), (f"  about {format_duration(left)} of search left" if left else "", "cyan")
        )
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
                "–" if line.best is None else format_metric(line.best, self.metric),
                "" if line.number is None else str(line.number),
            )
        running = board.in_state("running", "elsewhere")
        above = len(lines) if len(lines) + 8 <= self.console.height else 1
        room = max(3, self.console.height - above - 5)
        parts: list[Table | Text] = [head, table if above == len(lines) else Text(f"  {describe_total(lines)}")]
        if running:
            parts.append(self._lines(board, running[:room], readings))
        if len(running) > room:
            parts.append(Text("  …", style="dim"))
        if board.message:
            parts.append(Text(board.message, style="yellow"))
        return Group(*parts)
