"""The launcher with real worker processes: order, failures, retries, interruption, company."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standin
from patience import wait_for
from standin import make_plan, snapshot

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.local.pool import LocalPool
from mtlab.launch.policy import LaunchPolicy
from mtlab.launch.status import study_statuses
from mtlab.runs.lock import RunLock, lock_state
from mtlab.runs.results import write_result
from mtlab.runs.store import Store

Run = Callable[..., LaunchOutcome]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs", create=True)


@pytest.fixture
def run(store: Store) -> Run:
    """Launch a plan of stand-ins in this process."""

    def run(rows: Any, seeds: Any = (0,), *, workers: int = 2, study: str = "demo", **policy: Any) -> LaunchOutcome:
        plan, configs = make_plan(rows, seeds, study)
        policy = {"patience": 5.0, "grace": 5.0, **policy}
        return launch(
            store, plan, configs, pool=LocalPool(workers, command=standin.command), policy=LaunchPolicy(**policy)
        )

    return run


def events(store: Store, *kinds: str) -> list[dict[str, Any]]:
    rows = files.read_jsonl(store.study("demo") / "launch.jsonl")
    return [row for row in rows if not kinds or row["event"] in kinds]


def test_all_runs_are_done_and_a_second_launch_starts_nothing(store: Store, run: Run) -> None:
    rows: Any = {"aaa": {}, "bbb": {}}
    outcome = run(rows, (0, 1))
    assert outcome.exit_code == 0
    assert sorted(outcome.done) == ["aaa/s0", "aaa/s1", "bbb/s0", "bbb/s1"]
    assert store.result("aaa/s1")["steps"] == standin.STEPS  # type: ignore[index]
    assert (store.run("aaa/s0") / "log.txt").read_text() == "attempt 1\n"
    assert sorted(os.listdir(store.run("aaa/s0"))) == [
        "checkpoints",
        "checksums.json",
        "config.json",
        "log.txt",
        "metrics.jsonl",
        "result.json",
        "state.json",
    ]
    before = {path: path.stat().st_mtime_ns for path in (store.root / "cells").rglob("*")}
    assert run(rows, (0, 1)) == outcome
    assert {path: path.stat().st_mtime_ns for path in (store.root / "cells").rglob("*")} == before
    assert len(events(store, "start")) == 4


def test_only_what_is_missing_runs(store: Store, run: Run) -> None:
    run({"aaa": {}}, (0,))
    run({"aaa": {}, "bbb": {}}, (0, 1))
    assert [event["run"] for event in events(store, "start")] == ["aaa/s0", "aaa/s1", "bbb/s0", "bbb/s1"]


def test_no_more_workers_than_asked_for(store: Store, run: Run) -> None:
    run({"aaa": {}}, range(4), workers=2)
    level = highest = 0
    for event in events(store, "start", "exit"):
        level += 1 if event["event"] == "start" else -1
        highest = max(highest, level)
    assert highest == 2


def test_a_child_waits_for_its_parent_and_starts_from_it(store: Store, run: Run) -> None:
    rows: Any = {"kid": {"parent": "top"}, "top": {}}  # in the wrong order
    outcome = run(rows, (0, 1))
    assert len(outcome.done) == 4
    order = [event["run"] for event in events(store, "start")]
    ended = [event["run"] for event in events(store, "done")]
    assert order[:2] == ["top/s0", "top/s1"]
    for seed in (0, 1):
        assert ended.index(f"top/s{seed}") < ended.index(f"kid/s{seed}")


def test_what_waits_for_a_failed_parent_is_blocked_and_the_rest_goes_on(store: Store, run: Run) -> None:
    rows: Any = {
        "top": {"does": "bug"},
        "kid": {"parent": "top"},
        "grandkid": {"parent": "kid"},
        "other": {},
    }
    outcome = run(rows)
    assert outcome.exit_code == 1
    assert outcome.done == ("other/s0",)
    assert set(outcome.failed) == {"top/s0"}
    assert outcome.blocked == ("kid/s0", "grandkid/s0")
    assert not store.run("kid/s0").exists()
    assert {event["run"]: event["why"] for event in events(store, "blocked")} == {
        "kid/s0": "waits for top/s0",
        "grandkid/s0": "waits for kid/s0",
    }


def test_a_killed_worker_is_tried_again_and_goes_on(store: Store, run: Run) -> None:
    outcome = run({"aaa": {"does": "kill:2"}})
    assert outcome.exit_code == 0
    assert store.run_state("aaa/s0")["attempt"] == 3  # type: ignore[index]
    exits = events(store, "exit")
    assert [event["code"] for event in exits] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert [event["kind"] for event in exits] == ["killed", "killed", None]
    undisturbed = Store.open(store.root.parent / "other", create=True)
    plan, configs = make_plan({"aaa": {}}, (0,))
    launch(undisturbed, plan, configs, pool=LocalPool(2, command=standin.command))
    assert undisturbed.result("aaa/s0") == store.result("aaa/s0")
    assert undisturbed.metrics("aaa/s0") == store.metrics("aaa/s0")


def test_retries_are_bounded(store: Store, run: Run) -> None:
    outcome = run({"aaa": {"does": "kill"}}, (0, 1), retries=1)
    assert len(events(store, "start")) == 4
    assert set(outcome.failed) == {"aaa/s0", "aaa/s1"}  # a killed worker says nothing of the other seed
    failure = outcome.failed["aaa/s0"]
    assert (failure.kind, failure.attempt) == ("killed", 2)
    assert "SIGKILL" in failure.error
    assert "fewer --workers" in failure.advice


@pytest.mark.slow
def test_a_run_whose_time_is_up_keeps_its_state_and_is_gone_on_with(store: Store, run: Run) -> None:
    rows: Any = {"aaa": {"steps": 400}, "bbb": {"steps": 1}}
    outcome = run(rows, limit=2.0)
    assert (outcome.exit_code, outcome.done) == (1, ("bbb/s0",))
    failure = outcome.failed["aaa/s0"]
    assert failure.kind == "timeout"
    assert "resources.hours" in failure.advice
    assert len(events(store, "start")) == 2  # not tried again
    reached = len(store.metrics("aaa/s0"))
    assert 0 < reached < 400
    assert run(rows).exit_code == 0
    undisturbed = Store.open(store.root.parent / "other", create=True)
    plan, configs = make_plan(rows, (0,))
    launch(undisturbed, plan, configs, pool=LocalPool(2, command=standin.command))
    assert undisturbed.result("aaa/s0") == store.result("aaa/s0")


def test_a_hung_worker_is_killed_when_its_time_is_up(store: Store) -> None:
    process = standin.launch_process(store.root, make_plan({"aaa": {"steps": 10_000}}, (0,)), grace=0.5, limit=3.0)
    wait_for((store.run("aaa/s0") / "metrics.jsonl").exists)
    os.kill(_worker(store), signal.SIGSTOP)
    assert process.wait(15) == 1
    assert [(event["code"], event["kind"]) for event in events(store, "exit")] == [(-signal.SIGKILL, "timeout")]


@pytest.mark.parametrize(
    ("does", "kind", "said", "advice"),
    [
        ("bug", "bug", "ZeroDivisionError: division by zero", "log.txt"),
        ("oom", "oom", "asked for 3 GiB", "lower train.micro_batch"),
        ("nan", "nan", "the loss is nan", "lower train.lr"),
        ("input", "input", "no such weights", "correct the setting"),
        ("exit 1", "bug", "exited with 1 without a result", "log.txt"),
        ("exit 0", "bug", "exited with 0 without a result", "log.txt"),
    ],
)
def test_failures_are_told_apart_and_not_tried_again(
    store: Store, run: Run, does: str, kind: str, said: str, advice: str
) -> None:
    outcome = run({"aaa": {"does": does}})
    failure = outcome.failed["aaa/s0"]
    assert failure.kind == kind
    assert said in failure.error
    assert advice in failure.advice
    assert len(events(store, "start")) == 1


def test_a_bug_stops_its_cell_and_not_the_study(store: Store, run: Run) -> None:
    outcome = run({"aaa": {"does": "bug"}, "bbb": {}}, (0, 1, 2), workers=1)
    assert set(outcome.failed) == {"aaa/s0"}
    assert outcome.skipped == ("aaa/s1", "aaa/s2")
    assert outcome.done == ("bbb/s0", "bbb/s1", "bbb/s2")
    assert outcome.message == ""
    assert not store.run("aaa/s1").exists()


def test_a_diverged_seed_does_not_stop_its_cell(run: Run) -> None:
    assert len(run({"aaa": {"does": "nan"}}, (0, 1), workers=1).failed) == 2


def test_the_same_exception_in_two_cells_stops_the_study(run: Run) -> None:
    outcome = run({"aaa": {"does": "bug"}, "bbb": {"does": "bug"}, "ccc": {}}, workers=1)
    assert set(outcome.failed) == {"aaa/s0", "bbb/s0"}
    assert outcome.skipped == ("ccc/s0",)
    assert "the same failure in two cells, ZeroDivisionError" in outcome.message


def test_different_exceptions_do_not_stop_the_study(run: Run) -> None:
    outcome = run({"aaa": {"does": "bug"}, "bbb": {"does": "other bug"}, "ccc": {}}, workers=1)
    assert outcome.done == ("ccc/s0",)


def test_different_mistakes_do_not_stop_the_study_and_the_same_one_does(run: Run) -> None:
    cells = {"aaa": {"does": "input"}, "bbb": {"does": "other input"}, "ccc": {}}
    assert run(cells, workers=1).done == ("ccc/s0",)
    outcome = run({**cells, "bbb": {"does": "input", "pause": 0}, "ddd": {}}, (1,), workers=1)
    assert "the same failure in two cells, text.weights: no such weights" in outcome.message
    assert outcome.done == ()


def test_a_full_disk_is_named_and_stops_the_study_whatever_was_asked(store: Store, run: Run) -> None:
    cells = {"aaa": {"does": "exit 74"}, "bbb": {}, "ccc": {}}
    store.write_plan("demo", make_plan(cells)[0])
    outcome = run(cells, workers=1, keep_going=True)
    failure = outcome.failed["aaa/s0"]
    where = files.mount_point(store.root)
    assert (failure.kind, failure.error) == ("disk", f"the disk is full, or does not answer (mounted at {where})")
    assert outcome.skipped == ("bbb/s0", "ccc/s0")
    assert "free some space" in outcome.message
    status = study_statuses(store, ["demo"])[0]
    assert [line for line in status.problems() if "disk: the disk is full" in line and "--workers" not in line]


def test_keep_going_tries_everything(run: Run) -> None:
    outcome = run({"aaa": {"does": "bug"}, "bbb": {"does": "bug"}, "ccc": {}}, (0, 1), workers=1, keep_going=True)
    assert len(outcome.failed) == 4
    assert outcome.done == ("ccc/s0", "ccc/s1")
    assert outcome.exit_code == 1


def test_fail_fast_stops_everything_and_keeps_the_state(store: Store, run: Run) -> None:
    bug = {"does": "bug", "pause": 0.3}  # by then the other one has begun
    outcome = run({"aaa": bug, "bbb": {"steps": 2000}, "ccc": {}}, fail_fast=True)
    assert set(outcome.failed) == {"aaa/s0"}
    assert outcome.skipped == ("bbb/s0", "ccc/s0")
    assert outcome.exit_code == 1
    assert "stopped at the first failure" in outcome.message
    assert store.state("bbb/s0") == "interrupted"
    assert (store.run("bbb/s0") / "checkpoints" / "last.json").exists()


def test_a_mended_bug_runs_again(store: Store, run: Run) -> None:
    assert run({"aaa": {"does": "bug"}}).exit_code == 1
    assert store.state("aaa/s0") == "failed"
    assert run({"aaa": {}}).exit_code == 0
    assert store.state("aaa/s0") == "done"
    assert store.failure("aaa/s0") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_workers_cleanly_and_state_is_kept(store: Store, number: signal.Signals) -> None:
    rows: Any = {"aaa": {"steps": 36, "pause": 0.03}}
    process = standin.launch_process(store.root, make_plan(rows))
    wait_for(lambda: all((store.run(f"aaa/s{seed}") / "metrics.jsonl").exists() for seed in (0, 1)))
    process.send_signal(number)
    assert process.wait(15) == 130
    for seed in (0, 1):
        directory = store.run(f"aaa/s{seed}")
        assert store.state(f"aaa/s{seed}") == "interrupted"
        assert lock_state(directory) == "free"
        step = files.read_json(directory / "checkpoints" / "last.json")[0]
        assert step == store.metrics(f"aaa/s{seed}")[-1]["step"]  # nothing was lost
    assert [event["code"] for event in events(store, "exit")] == [143, 143]
    again = standin.launch_process(store.root, make_plan(rows))
    assert again.wait(30) == 0


def test_a_worker_that_does_not_listen_is_killed_at_the_end_of_patience(store: Store) -> None:
    rows: Any = {"aaa": {"steps": 1000}}
    process = standin.launch_process(store.root, make_plan(rows, (0,)), grace=0.5)
    wait_for((store.run("aaa/s0") / "metrics.jsonl").exists)
    os.kill(_worker(store), signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 130
    assert [event["code"] for event in events(store, "exit")] == [-signal.SIGKILL]


def test_a_second_signal_stops_at_once(store: Store) -> None:
    process = standin.launch_process(store.root, make_plan({"aaa": {"steps": 1000}}, (0,)), grace=60)
    wait_for((store.run("aaa/s0") / "metrics.jsonl").exists)
    os.kill(_worker(store), signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 130


def _worker(store: Store) -> int:
    wait_for(lambda: events(store, "start"))
    return int(events(store, "start")[-1]["pid"])


def test_two_launchers_share_a_study(store: Store) -> None:
    made = make_plan({"aaa": {}, "bbb": {}, "kid": {"parent": "aaa"}}, range(3))
    both = [standin.launch_process(store.root, made) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    for run in made[1]:
        record = (store.root.parent / f"{run.replace('/', '-')}.alone").read_text()
        assert record == "begun\nleft\n"  # one execution, once


def test_what_runs_elsewhere_is_waited_for(store: Store) -> None:
    plan, configs = make_plan({"aaa": {}}, (0,))
    directory = store.create_run("aaa/s0", configs["aaa/s0"])
    with RunLock(directory, interval=0.1):
        process = standin.launch_process(store.root, (plan, configs))
        wait_for(lambda: bool(events(store, "elsewhere")))
        time.sleep(0.5)
        assert process.poll() is None
        write_result(directory, {"steps": 12})
    assert process.wait(15) == 0
    assert events(store, "start") == []


def test_what_another_leaves_unfinished_is_taken_over(store: Store) -> None:
    plan, configs = make_plan({"aaa": {}}, (0,))
    directory = store.create_run("aaa/s0", configs["aaa/s0"])
    with RunLock(directory, interval=0.1):
        process = standin.launch_process(store.root, (plan, configs))
        wait_for(lambda: bool(events(store, "elsewhere")))
    assert process.wait(15) == 0
    assert len(events(store, "start")) == 1


def test_a_failure_elsewhere_counts(store: Store) -> None:
    plan, configs = make_plan({"aaa": {}, "kid": {"parent": "aaa"}}, (0,))
    directory = store.create_run("aaa/s0", configs["aaa/s0"])
    with RunLock(directory, interval=0.1):
        process = standin.launch_process(store.root, (plan, configs))
        wait_for(lambda: bool(events(store, "elsewhere")))
        files.write_json(directory / "failure.json", {"kind": "bug", "error": "KeyError: 'x'", "where": "a:1"})
    assert process.wait(15) == 1
    assert events(store, "start") == []
    assert [event["run"] for event in events(store, "blocked")] == ["kid/s0"]


def test_workers_of_a_killed_launcher_stop_and_a_new_launcher_goes_on(store: Store) -> None:
    made = make_plan({"aaa": {"steps": 60, "pause": 0.03}})
    first = standin.launch_process(store.root, made)
    wait_for(lambda: all((store.run(f"aaa/s{seed}") / "metrics.jsonl").exists() for seed in (0, 1)))
    first.kill()
    second = standin.launch_process(store.root, made)
    out, _ = second.communicate(timeout=30)
    assert second.returncode == 0, out
    for seed in (0, 1):
        record = (store.root.parent / f"aaa-s{seed}.alone").read_text()
        assert "TWO" not in record
        assert store.run_state(f"aaa/s{seed}")["attempt"] == 2  # type: ignore[index]


def test_another_configuration_under_a_known_id_stops_everything(store: Store, run: Run) -> None:
    run({"aaa": {"does": "bug"}})
    before = snapshot(store.root)
    with pytest.raises(UserError, match="another configuration"):
        run({"aaa": {"steps": 3}})
    assert snapshot(store.root) == before


def test_a_launch_that_raises_says_that_it_ended_and_leaves_signals_as_they_were(store: Store, run: Run) -> None:
    before = signal.signal(signal.SIGTERM, mine := lambda *_: None)
    try:
        run({"aaa": {"does": "bug"}})
        assert signal.getsignal(signal.SIGTERM) is mine
        with pytest.raises(UserError, match="another configuration"):
            run({"aaa": {"steps": 3}})
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [row["event"] for row in events(store, "launch", "end")] == ["launch", "end"] * 2
