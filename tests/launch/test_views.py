"""What the user sees while a study runs, on a terminal and in a pipe."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import standin
from rich.console import Console
from standin import make_plan

from mtlab import files
from mtlab.launch.board import Board, LaunchedRun, make_board
from mtlab.launch.exit_status import ADVICE, RunFailure
from mtlab.launch.launcher import launch
from mtlab.launch.local.pool import LocalPool
from mtlab.launch.views.live import LiveView, PlainView, make_view
from mtlab.launch.views.progress import LaunchProgress
from mtlab.runs.results import write_result
from mtlab.runs.store import Store


@pytest.fixture
def board(tmp_path: Path) -> Board:
    store = Store.open(tmp_path / "runs", create=True)
    plan, _ = make_plan({"bridge": {"steps": 100}, "static": {"steps": 100}}, (0, 1))
    write_result(store.run("bridge/s0"), {})
    return make_board(store, plan, 2)


def become(board: Board, run: str, state: str, step: int = 0, **values: float) -> LaunchedRun:
    job = board.jobs[run]
    job.state = state  # type: ignore[assignment]
    if step:
        files.append_line(job.directory / "metrics.jsonl", {"step": step, **values})
    board.recount()
    return job


def test_plain_lines_of_a_real_launch(tmp_path: Path) -> None:
    store, stream = Store.open(tmp_path / "runs", create=True), io.StringIO()
    plan, configs = make_plan(
        {"aaa": {}, "top": {"does": "oom"}, "kid": {"parent": "top"}, "bbb": {"does": "kill:1"}}, (0,)
    )
    launch(store, plan, configs, pool=LocalPool(1, command=standin.command), view=PlainView(stream))
    assert stream.getvalue().splitlines() == [
        "started  aaa seed 0",
        "demo: 0 done, 1 running, 3 queued; 1 at once",
        "done     aaa seed 0",
        "started  top seed 0",
        f"failed   top seed 0: oom: asked for 3 GiB; {ADVICE['oom']}",
        "blocked  kid seed 0: waits for top/s0",
        "started  bbb seed 0",
        "queued   bbb seed 0: the worker was ended by SIGKILL; attempt 2 follows",
        "started  bbb seed 0 (attempt 2)",
        "done     bbb seed 0",
    ]


def test_plain_heartbeat_tells_how_far_all_is(board: Board) -> None:
    stream = io.StringIO()
    view = PlainView(stream, heartbeat=0.0)
    become(board, "bridge/s1", "running", 10, **{"val/accuracy": 0.5})
    view.update(board)
    become(board, "bridge/s1", "running", 40, **{"val/accuracy": 0.75})
    view.update(board)
    first, second = stream.getvalue().splitlines()
    assert first == "demo: 1 done, 1 running, 2 queued; 2 at once"
    assert re.fullmatch(
        r"demo: 1 done, 1 running, 2 queued \| about [\d.]+ s left \| bridge seed 1 40/100 val/accuracy 75\.0", second
    )


def test_plain_lines_never_flood_and_failures_are_always_told(board: Board) -> None:
    stream = io.StringIO()
    view = PlainView(stream, heartbeat=60.0, burst=5)
    view.update(board)
    job = board.jobs["static/s0"]
    for _ in range(100):
        job.state = "running"
        view.changed(job)
        view.update(board)
    job.state, job.failure = "failed", RunFailure("bug", "KeyError: 'x'", "a.py:3")
    view.changed(job)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1 + 5 + 1
    assert lines[-1].startswith("failed   static seed 0: bug: KeyError: 'x'")
    view.heartbeat = 0.0
    view.update(board)
    assert "95 lines left out" in stream.getvalue().splitlines()[-1]


def drawn(view: LiveView, board: Board) -> str:
    with view.console.capture() as captured:
        view.console.print(view.render(board))
    return captured.get()


def test_live_view_shows_the_whole_and_each_run_that_goes_on(board: Board) -> None:
    view = LiveView(Console(width=120, height=30, file=io.StringIO(), force_terminal=True))
    become(board, "bridge/s1", "running", 50, **{"val/accuracy": 0.8125})
    become(board, "static/s0", "elsewhere", 20, **{"train/loss": 1.0})
    board.message = "stopping"
    text = re.sub(r"\x1b\[[\d;]*m", "", drawn(view, board))
    assert "1 done, 1 running, 1 running elsewhere, 1 queued" in text
    assert re.search(r"bridge +1 .* 50/100 +81\.2", text)
    assert re.search(r"static +0 .* 20/100 +– +elsewhere", text)
    assert "stopping" in text


def test_live_view_fits_the_terminal(board: Board) -> None:
    plan, _ = make_plan({f"c{number}": {} for number in range(40)}, (0,))
    many = make_board(Store(next(iter(board.jobs.values())).directory.parents[2]), plan, 40)
    for job in many.jobs.values():
        job.state = "running"
    many.recount()
    view = LiveView(Console(width=100, height=20, file=io.StringIO(), force_terminal=True))
    lines = drawn(view, many).splitlines()
    assert len(lines) <= 20
    assert "…" in lines[-1]


def test_progress_is_read_on_and_survives_a_resumed_run(board: Board) -> None:
    progress = LaunchProgress()
    job = become(board, "static/s0", "running", 50)
    progress.read(board)
    become(board, "static/s0", "running", 60)
    assert progress.read(board)["static/s0"].step == 60
    assert progress.fraction_done(job) == 0.6
    files.write_text(job.directory / "metrics.jsonl", '{"step": 30}\n')
    assert progress.read(board)["static/s0"].step == 30
    become(board, "static/s0", "running", 40)
    progress.read(board)
    assert progress.seconds_left(board) is not None


def test_what_an_earlier_launch_has_done_is_no_measure_of_the_pace(board: Board) -> None:
    """Two runs were cut off at 90 of 100 steps: the time left follows from the steps since."""
    progress = LaunchProgress()
    for run in ("static/s0", "static/s1"):
        become(board, run, "queued", 90)
    board.jobs["bridge/s1"].state = "done"
    progress.read(board)
    assert progress.seconds_left(board) is None
    become(board, "static/s0", "running", 95)
    progress.read(board)
    started, now = progress._started, time.monotonic()
    assert started is not None
    left = progress.seconds_left(board)
    assert left is not None
    assert left >= 3 * (now - started), "5 steps are done since, 15 are left"


def test_runs_that_are_added_later_and_are_done_are_no_measure_of_the_pace(board: Board) -> None:
    progress, late = LaunchProgress(), board.jobs.pop("bridge/s1")
    progress.read(board)
    late.state, board.jobs[late.id] = "done", late
    board.recount()
    progress.read(board)
    assert progress.seconds_left(board) is None, "nothing has been done since"


def test_time_left_goes_by_what_steps_take_and_not_by_their_flops(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of static takes a second, one of bridge, of as many FLOPs, a tenth."""
    now, progress = 1.0, LaunchProgress()
    monkeypatch.setattr("mtlab.launch.views.progress.time.monotonic", lambda: now)
    progress.read(board)
    for run, seconds in (("bridge/s1", 10.0), ("static/s0", 50.0)):
        become(board, run, "running", 1)
        progress.read(board)
        now += seconds
        become(board, run, "running", 100 if run == "bridge/s1" else 50)
        progress.read(board)
        board.jobs["bridge/s1"].state = "done"
    assert progress.seconds_left(board) == pytest.approx(50 + 100, rel=0.05), "by FLOPs it would be 60"


def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_view(io.StringIO()), PlainView)
    leader, follower = pty.openpty()
    with open(leader, "rb", 0), open(follower, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        assert isinstance(make_view(terminal), LiveView)
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(make_view(terminal), PlainView)


def test_live_view_of_a_real_launch_on_a_terminal(tmp_path: Path) -> None:
    made = make_plan({"aaa": {"steps": 40, "pause": 0.03}, "bbb": {"does": "bug"}}, (0,))
    described = standin.described(tmp_path, made)
    leader, follower = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(leader, 65536):
                seen.append(chunk)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    process = subprocess.Popen(
        [sys.executable, standin.__file__, "launch", str(tmp_path / "runs"), str(described)],
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
    )
    os.close(follower)
    assert process.wait(30) == 1
    reader.join(5)
    os.close(leader)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", b"".join(seen).decode())
    assert "failed   bbb seed 0: bug: ZeroDivisionError: division by zero" in text
    assert re.search(r"aaa +0 .*\d+/40", text)
    assert text.rstrip().splitlines()[-1].startswith("demo")
    assert "1 done, 0 running, 0 queued, 1 failed" in text.rstrip().splitlines()[-1]
