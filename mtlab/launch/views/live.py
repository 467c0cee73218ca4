"""Views of a running study: redrawn in place on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, TextIO

from mtlab.launch.board import ORDER, Board, LaunchedRun, LaunchView
from mtlab.launch.views.progress import LaunchProgress, RunProgress
from mtlab.units import format_duration, format_metric

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

HEARTBEAT = 10.0  #: seconds between plain lines on the progress
REFRESH = 0.5  #: seconds between two pictures of a live view
BURST = 20  #: plain lines on single runs between two of them; failures are always printed
ANNOUNCED = frozenset({"running", "done", "failed", "blocked"})


def make_view(stream: TextIO | None = None) -> LaunchView:
    """Choose the view: live if `stream` (by default stdout) is a terminal that can be redrawn, else plain lines."""
    out = stream or sys.stdout
    if can_redraw(out):
        from rich.console import Console

        return LiveView(Console(file=out, highlight=False))
    return PlainView(out)


def can_redraw(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can be redrawn."""
    return stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def format_counts(board: Board) -> str:
    """Format the number of runs by state; the first three always, the others if there are any."""
    words = {"elsewhere": "running elsewhere", "pending": "in the queue"}
    shown = [state for state in ORDER if board.counts[state] or state in ("done", "running", "queued")]
    return ", ".join(f"{board.counts[state]} {words.get(state, state)}" for state in shown)


def describe_job(job: LaunchedRun) -> str:
    """Describe the state of a job in one line."""
    line = f"{job.state:<8} {job.name}"
    if job.state == "running":
        return f"started  {job.name}" + (f" (attempt {job.attempt})" if job.attempt > 1 else "")
    if job.failure is not None:
        return f"{line}: {job.failure}; {job.failure.advice}"
    return f"{line}: {job.note}" if job.note else line


class PlainView:
    """Plain lines for pipes and files: what starts, ends and fails, and every ten seconds the progress.

    Args:
        stream: the output.
        heartbeat: seconds between two lines on the progress.
        burst: lines on single runs between two of them.

    """

    def __init__(self, stream: TextIO, *, heartbeat: float = HEARTBEAT, burst: int = BURST) -> None:
        self.stream = stream
        self.heartbeat = heartbeat
        self.burst = burst
        self.progress = LaunchProgress()
        self._last: float | None = None
        self._printed: deque[str] = deque()
        self._dropped = 0
        self._message = ""
        self._note = ""

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def changed(self, job: LaunchedRun) -> None:
        """Print a line, unless there were too many lately; failures are always printed."""
        if job.state not in ANNOUNCED and not job.note:
            return
        if job.state != "failed" and len(self._printed) >= self.burst:
            self._dropped += 1
            return
        line = describe_job(job)
        self._printed.append(line)
        self._print(line)

    def update(self, board: Board) -> None:
        """Print the progress, if it is time to."""
        if board.message and board.message != self._message:
            self._message = board.message
            self._print(board.message)
        if board.note != self._note:
            self._note = board.note
            self._print(board.note)
        now = time.monotonic()
        if self._last is None:
            self._last = now
            self._print(self._opening(board))
        elif now - self._last >= self.heartbeat:
            self._last = now
            self._print(self._summary(board))
            self._printed.clear()

    def _opening(self, board: Board) -> str:
        self.progress.read(board)
        return f"{board.study}: {format_counts(board)}; {board.workers} at once"

    def _summary(self, board: Board) -> str:
        readings = self.progress.read(board)
        parts = [f"{board.study}: {format_counts(board)}"]
        if self._dropped:
            parts.append(f"{self._dropped} lines left out (see launch.jsonl)")
            self._dropped = 0
        left = self.progress.seconds_left(board)
        if left is not None:
            parts.append(f"about {format_duration(left)} left")
        running = board.in_state("running")
        parts += [_short(job, readings[job.id], board.metric) for job in running[:4]]
        if len(running) > 4:
            parts.append(f"and {len(running) - 4} more")
        return " | ".join(parts)

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def _short(job: LaunchedRun, reading: RunProgress, metric: str) -> str:
    value = "" if reading.metric is None else f" {metric} {format_metric(reading.metric, metric)}"
    return f"{job.name} {reading.step}/{job.steps}{value}"


class LiveView:
    """A view of the whole study, redrawn in place on a terminal; failures are printed above it.

    Args:
        console: the terminal.

    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live as Screen

        self.console = console
        self.progress = LaunchProgress()
        self._screen = Screen(console=console, auto_refresh=False, vertical_overflow="crop")
        self._last: float | None = None
        self._board: Board | None = None

    def __enter__(self) -> Self:
        self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._draw(self._board)
        self._screen.stop()

    def changed(self, job: LaunchedRun) -> None:
        """Print failures and retries above the view; everything else is in it."""
        retried = job.state == "queued" and job.attempt
        if job.state == "failed" or retried:
            self.console.print(describe_job(job), style="red" if job.state == "failed" else "yellow", markup=False)

    def update(self, board: Board) -> None:
        """Refresh, if it is time to."""
        now = time.monotonic()
        if self._last is None or now - self._last >= REFRESH:
            self._last, self._board = now, board
            self._draw(board)

    def _draw(self, board: Board) -> None:
        self._screen.update(self.render(board), refresh=True)

    def render(self, board: Board) -> Group:
        """Draw the board: a bar for the whole, then a line for each running run."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        readings = self.progress.read(board)
        total = sum(job.cost for job in board.jobs.values()) or 1.0
        done = sum(job.cost * self.progress.fraction_done(job) for job in board.jobs.values())
        whole = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=total, completed=done, width=30)
        left = self.progress.seconds_left(board)
        remaining = f"about {format_duration(left)} left" if left and board.in_state("running", "elsewhere") else ""
        whole.add_row(Text(board.study, style="bold"), bar, Text(format_counts(board)), Text(remaining, style="cyan"))
        parts: list[Table | Text] = [whole]
        running = board.in_state("running", "elsewhere")
        if running:
            parts.append(self._lines(board, running[: max(3, self.console.height - 6)], readings))
        if len(running) > max(3, self.console.height - 6):
            parts.append(Text("  …", style="dim"))
        if board.note:
            parts.append(Text(board.note, style="cyan"))
        if board.message:
            parts.append(Text(board.message, style="yellow"))
        return Group(*parts)

    def _lines(self, board: Board, running: list[LaunchedRun], readings: Mapping[str, RunProgress]) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
        table.add_column("  run", style="cyan", overflow="ellipsis", no_wrap=True, ratio=None)
        for column in ("seed", "", "step", board.metric, "left"):
            table.add_column(column, justify="right", no_wrap=True)
        for job in running:
            reading = readings[job.id]
            left = reading.seconds_left(job.steps)
            table.add_row(
                Text(f"  {job.label}"),
                str(job.seed),
                ProgressBar(total=job.steps, completed=min(reading.step, job.steps), width=16),
                f"{reading.step}/{job.steps}",
                "–" if reading.metric is None else format_metric(reading.metric, board.metric),
                "elsewhere" if job.state == "elsewhere" else "–" if left is None else format_duration(left),
            )
        return table
