"""What users see while a sweep runs: lines in a pipe, one view on a terminal."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from imagined import Opened, write_sweep
from rich.console import Console

from mtlab.launch.board import Board, make_job
from mtlab.sweeps import view
from mtlab.sweeps.driver import TrialEvent
from mtlab.sweeps.view import REFUSALS, LiveSweepView, PlainSweepView, SweepProgress, make_sweep_view

TEXT = """
over: {manager: [bridge, static]}
space: {train.lr: {float: [1e-4, 1e-1], log: true}}
budget: {trials: 4}
"""


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    made = Opened(write_sweep(tmp_path, TEXT), tmp_path / "runs")
    made.search(3)
    return made


def board(opened: Opened) -> Board:
    run = opened.store.plan("hunt")["runs"][0]
    job = make_job(opened.store, run)
    job.state = "running"
    return Board("hunt", "val/accuracy", {run["id"]: job}, 1)


def test_lines_say_how_far_each_search_is(opened: Opened) -> None:
    stream = io.StringIO()
    plain = PlainSweepView(stream, SweepProgress(opened.searches), "val/accuracy", heartbeat=0)
    plain.update(board(opened))
    best = [f"{100 * search.study.best_value:.1f}" for search in opened.searches]
    assert stream.getvalue() == f"hunt: bridge 2/4 best {best[0]} | static 1/4 best {best[1]}\n"


def test_of_many_variants_a_line_says_the_total(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "SHOWN", 1)
    stream = io.StringIO()
    plain = PlainSweepView(stream, SweepProgress(opened.searches), "val/accuracy", heartbeat=0)
    plain.update(board(opened))
    assert stream.getvalue() == "hunt: 3/8 trials | 2 of 2 variants still search\n"
    console = Console(file=io.StringIO(), force_terminal=True, width=110, height=8)  # no room for all of them
    with LiveSweepView(console, SweepProgress(opened.searches), "val/accuracy") as live:
        live.update(board(opened))
    assert "3/8 trials | 2 of 2 variants still search" in console.file.getvalue()  # type: ignore[attr-defined]


def test_no_time_is_estimated_for_searches_that_have_ended(opened: Opened) -> None:
    progress = SweepProgress(opened.searches)
    lines = progress.variants()
    progress._first = (0.0, 0)
    progress._variants = [replace(line, complete=True) for line in lines]
    progress._read_at = float("inf")
    assert progress.seconds_left() == 0


def test_time_left_counts_down_while_trials_run(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, state = SweepProgress(opened.searches[:1]), {"now": 0.0, "ended": 2}
    (line,) = progress.variants()
    monkeypatch.setattr(view.time, "monotonic", lambda: state["now"])
    monkeypatch.setattr(view, "_variant_progress", lambda _: replace(line, ended=int(state["ended"]), budget=10))
    progress._first = progress._last = progress._read_at = None  # type: ignore[assignment]
    assert progress.seconds_left() is None, "none of these trials ended here"
    lefts = []
    for now, ended in ((20.0, 4), (24.0, 4), (29.0, 4), (39.0, 4), (40.0, 5)):  # 10 s a trial, then one of 20
        state.update(now=now, ended=ended)
        lefts.append(progress.seconds_left())
    assert lefts == [60, 56, 51, 50, pytest.approx(5 * 40 / 3)]


def test_lines_tell_what_becomes_of_trials_and_of_many_refusals_the_first(opened: Opened) -> None:
    stream = io.StringIO()
    plain = PlainSweepView(stream, SweepProgress(opened.searches), "val/accuracy", heartbeat=0)
    plain.on_event(TrialEvent("bridge · trial 3", "done", "", 0.51234))
    plain.on_event(TrialEvent("bridge · trial 4", "failed", "nan: the loss is nan"))
    for number in range(20):
        plain.on_event(TrialEvent(f"static · trial {number}", "refused", "cost/params is 300, not ≤ 200"))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "done     bridge · trial 3 val/accuracy 51.2"
    assert lines[1] == "failed   bridge · trial 4: nan: the loss is nan"
    assert sum(line.startswith("refused") for line in lines) == REFUSALS
    plain.update(board(opened))
    assert "20 refused" in stream.getvalue().splitlines()[-1]


def test_the_view_on_a_terminal_has_a_line_a_search_and_a_line_a_run(opened: Opened) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=110, height=30)
    with LiveSweepView(console, SweepProgress(opened.searches), "val/accuracy") as live:
        live.update(board(opened))
        live.on_event(TrialEvent("bridge · trial 4", "failed", "nan: the loss is nan"))
    text = stream.getvalue()
    for words in ("bridge", "2/4", "static", "1/4", "best val/accuracy", "bridge · trial 0", "nan: the loss is nan"):
        assert words in text


def test_pipes_get_lines(opened: Opened) -> None:
    view, news = make_sweep_view(opened.searches, "val/accuracy", io.StringIO())
    assert isinstance(view, PlainSweepView)
    assert news == view.on_event
