"""A launch that is given further runs as it goes on, and asked to let some rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standin
from standin import make_plan

from mtlab import files
from mtlab.launch.board import Board, RunChanges
from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.local.pool import LocalPool
from mtlab.launch.policy import LaunchPolicy
from mtlab.runs.store import Store


class Script:
    """Says what is to change at each turn, as a function of the board; open until it says None."""

    def __init__(self, say: Callable[[Board], RunChanges | None]) -> None:
        self.say = say
        self.turns = 0

    def poll(self, board: Board) -> RunChanges:
        self.turns += 1
        return self.say(board) or RunChanges()


def entries(rows: Any, seeds: Any = (0,)) -> list[tuple[Any, Any]]:
    plan, configs = make_plan(rows, seeds)
    return [(run, configs[run["id"]]) for run in plan["runs"]]


def fed(store: Store, say: Callable[[Board], RunChanges | None], workers: int = 1, **policy: Any) -> LaunchOutcome:
    plan, _ = make_plan({})
    rules = LaunchPolicy(**{"patience": 5.0, "grace": 5.0, **policy})
    return launch(store, plan, {}, pool=LocalPool(workers, command=standin.command), policy=rules, source=Script(say))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs", create=True)


def test_runs_are_added_as_others_end(store: Store) -> None:
    first, second = entries({"aaa": {}, "bbb": {}})

    def say(board: Board) -> RunChanges | None:
        if not board.jobs:
            return RunChanges([first], open=True)
        if board.jobs["aaa/s0"].state == "done" and "bbb/s0" not in board.jobs:
            return RunChanges([second], open=True)
        return RunChanges(open="bbb/s0" not in board.jobs)

    outcome = fed(store, say)
    assert (outcome.done, outcome.exit_code) == (("aaa/s0", "bbb/s0"), 0)


def test_a_run_that_rests_keeps_its_state_and_may_be_asked_for_again(store: Store) -> None:
    (run,) = entries({"aaa": {"pause": 0.1, "steps": 30}})
    metrics, seen = store.run("aaa/s0") / "metrics.jsonl", []

    def say(board: Board) -> RunChanges | None:
        if not board.jobs:
            return RunChanges([run], open=True)
        state = board.jobs["aaa/s0"].state
        seen.append(state)
        if state == "running" and "paused" not in seen and len(files.read_jsonl(metrics)) >= 4:
            return RunChanges(pause=["aaa/s0"], open=True)
        if state == "paused":
            return RunChanges([run], open=True)
        return RunChanges(open=state != "done")

    assert fed(store, say).exit_code == 0
    assert "paused" in seen
    assert [row["step"] for row in files.read_jsonl(metrics)] == list(range(1, 31))
    assert store.run_state("aaa/s0")["attempt"] == 2  # type: ignore[index]


def test_a_run_that_is_asked_for_while_it_stops_goes_on(store: Store, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    (run,) = entries({"aaa": {"hold": str(hold)}})
    begun, asked = store.run("aaa/s0") / "metrics.jsonl", []

    def say(board: Board) -> RunChanges | None:
        if not board.jobs:
            return RunChanges([run], open=True)
        job = board.jobs["aaa/s0"]
        if not asked and begun.exists():
            asked.append("pause")
            return RunChanges(pause=["aaa/s0"], open=True)
        if asked == ["pause"]:
            asked.append(job.state)
            hold.unlink()
            return RunChanges([run], open=True)
        return RunChanges(open=job.state not in ("done", "paused"))

    assert fed(store, say).done == ("aaa/s0",)
    assert asked == ["pause", "running"]
    assert store.run_state("aaa/s0")["attempt"] == 2  # type: ignore[index]


def test_what_rests_at_the_end_is_no_failure_and_goes_on_later(store: Store) -> None:
    (run,) = entries({"aaa": {"pause": 0.1, "steps": 30}})

    def say(board: Board) -> RunChanges | None:
        if not board.jobs:
            return RunChanges([run], open=True)
        return RunChanges(pause=["aaa/s0"] if files.read_jsonl(store.run("aaa/s0") / "metrics.jsonl") else [])

    outcome = fed(store, say)
    assert (outcome.exit_code, outcome.failed, outcome.skipped) == (0, {}, ())
    assert store.state("aaa/s0") == "interrupted"
    plan, configs = make_plan({"aaa": {"pause": 0.0, "steps": 30}}, (0,))
    assert launch(store, plan, configs, pool=LocalPool(2, command=standin.command)).done == ("aaa/s0",)


def test_what_waits_and_is_wanted_no_more_is_never_started(store: Store) -> None:
    first, second = entries({"aaa": {"pause": 0.05}, "bbb": {}})

    def say(board: Board) -> RunChanges | None:
        if not board.jobs:
            return RunChanges([first, second], open=True)
        return RunChanges(pause=["bbb/s0"])

    outcome = fed(store, say)
    assert outcome.done == ("aaa/s0",)
    assert outcome.exit_code == 0
    assert not store.run("bbb/s0").exists()


def test_nothing_more_is_taken_once_the_launch_is_halted(store: Store) -> None:
    both = entries({"aaa": {"does": "bug"}, "bbb": {"does": "bug"}, "ccc": {}})
    asked: list[bool] = []

    def say(board: Board) -> RunChanges | None:
        asked.append(board.halted)
        return RunChanges(both, open=True) if not board.jobs else RunChanges(open=True)

    outcome = fed(store, say)
    assert set(outcome.failed) == {"aaa/s0", "bbb/s0"}
    assert outcome.skipped == ("ccc/s0",)
    assert "same failure in two cells" in outcome.message


def test_a_worker_that_does_not_listen_is_killed(store: Store) -> None:
    (run,) = entries({"aaa": {"pause": 3.0}})
    begun = store.run("aaa/s0") / "state.json"

    def say(board: Board) -> RunChanges | None:
        if not board.jobs:
            return RunChanges([run], open=True)
        return RunChanges(pause=["aaa/s0"] if begun.exists() else [])

    assert fed(store, say, grace=0.2).exit_code == 0
    assert store.state("aaa/s0") == "interrupted"
