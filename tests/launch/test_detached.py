"""A study that runs in the background, and what stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from calling import here, mtlab_at
from patience import wait_for
from tiny_study import write_study

from mtlab import files
from mtlab.processes import current_process, running_process
from mtlab.runs.store import Store
from mtlab.workflow import detached
from mtlab.workflow.detached import find_launchers

Program = Callable[[str, str], Path]
LONG = "axes: {manager: [bridge, static]}\nseeds: 1\nset: {train: {length: {steps: 100000}, eval_every: 50000}}"


@pytest.mark.slow
def test_a_study_goes_on_in_the_background_until_it_is_cancelled(tmp_path: Path) -> None:
    write_study(tmp_path, LONG, "long")
    begun = mtlab_at(tmp_path, "run", "long.yaml", "--detach", "--workers", "1")
    assert begun.returncode == 0, begun.stderr
    assert "long goes on in the background (process " in begun.stdout
    store = Store.open(tmp_path / "runs")
    (launcher,) = find_launchers(store, "long").here
    try:
        assert os.getsid(launcher.pid) == launcher.pid != os.getsid(0)  # the terminal's end does not reach it
        wait_for(lambda: any(tmp_path.glob("runs/cells/*/s0/checkpoints/last.safetensors")))
        stopped = mtlab_at(tmp_path, "cancel", "long")
        assert (stopped.returncode, launcher.alive()) == (0, False)
    finally:
        launcher.send(signal.SIGKILL)
    assert "long is stopped; the command that began it goes on from here" in stopped.stdout
    plan = store.plan("long")
    assert sorted(store.states(plan).values()) == ["interrupted", "new"]
    assert "interrupted" in (store.study("long") / "detached.log").read_text()
    assert "nothing of long runs" in mtlab_at(tmp_path, "cancel", "long").stdout


@pytest.mark.slow
def test_a_sweep_goes_on_in_the_background_until_it_is_cancelled(tmp_path: Path) -> None:
    write_study(tmp_path, "axes: {manager: [bridge]}")  # beside it, the base
    (tmp_path / "hunt.yaml").write_text(
        "kind: sweep\nname: tune\nbase: tiny.yaml\nover: {manager: [bridge, static]}\nbaseline: {manager: bridge}\n"
        "space: {train.lr: {float: [1e-4, 1e-2], log: true}}\nbudget: {trials: 1}\n"
        "finally: {seeds: 1}\nset: {train: {length: {steps: 6}, eval_every: 3}}\n"
    )
    assert "buget" in mtlab_at(tmp_path, "sweep", "hunt.yaml", "-d", "buget.trials=2").stderr
    assert not (tmp_path / "runs" / "studies" / "tune" / "launch.jsonl").exists()
    begun = mtlab_at(tmp_path, "sweep", "hunt.yaml", "--detach", "--workers", "1")
    assert begun.returncode == 0, begun.stderr
    assert "next: mtlab sweep status tune, mtlab logs RUN -f, mtlab cancel tune" in begun.stdout
    store = Store.open(tmp_path / "runs")
    (launcher,) = find_launchers(store, "tune").here
    try:  # until it retrains the winners: its search has ended then, and it is found all the same
        wait_for(lambda: any(tmp_path.glob("runs/cells/*/s1000/lock.json")))
        stopped = mtlab_at(tmp_path, "cancel", "hunt.yaml")
        assert (stopped.returncode, launcher.alive()) == (0, False), stopped.stderr
    finally:
        launcher.send(signal.SIGKILL)
    assert "tune is stopped; the command that began it goes on from here" in stopped.stdout
    assert "interrupted; the same command goes on" in (store.study("tune") / "detached.log").read_text()
    assert find_launchers(store, "tune").here == ()


@pytest.mark.slow
def test_what_is_wrong_is_told_before_it_goes_on_in_the_background(tmp_path: Path) -> None:
    write_study(tmp_path, "axes: {manager: [bridge]}\nseeds: 1\nset: {text: {name: minilm}, train: {lrr: 1}}", "wrong")
    done = mtlab_at(tmp_path, "run", "wrong.yaml", "-d")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "lrr" in done.stderr


@pytest.fixture
def left(tmp_path: Path) -> Store:
    """Make a store with a study whose launcher is gone, and a job of it that is still in the queue."""
    store = Store.open(tmp_path / "runs", create=True)
    file = write_study(tmp_path, "axes: {manager: [bridge]}\nseeds: 1", "left")
    plan = {"study": "left", "runs": [{"id": "cell/s0", "parents": []}], "spec_file": str(file)}
    store.write_plan("left", plan)
    submitted(store, start=1)  # another process has its number now
    return store


def submitted(store: Store, **changes: object) -> None:
    launcher = current_process().to_json() | changes
    files.write_json(store.run("cell/s0") / "slurm" / "job.json", {"job": 4711, "launcher": launcher})


def launched(store: Store, **changes: object) -> None:
    process = current_process().to_json() | changes
    store.log_launch("left", {"event": "launch", "host": process["host"], "launcher": process["pid"],
                              "process": process})  # fmt: skip


def test_a_plan_that_the_launcher_writes_anew_does_not_stop_its_start(
    left: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (left.study("left") / "plan.json").write_text("{}")
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = running_process(sleeper.pid)
    launched(left, **process.to_json())
    monkeypatch.setattr(detached, "_spawn", lambda *_: sleeper)
    try:
        assert detached.start_detached(["run", "left"], left, "left") is sleeper
        assert find_launchers(left, "left").here == (process,)
    finally:
        sleeper.communicate(b"\n")


def test_jobs_of_a_launcher_that_is_gone_are_cancelled(
    left: Store, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program("squeue", "echo '4711|RUNNING|0:0|1:00|1:00:00|'")
    calls = program("scancel", "exit 0")
    launched(left, start=1)
    code, out, _ = here(monkeypatch, capsys, "cancel")("left", "--store", left.root)
    assert (code, out) == (0, "1 job of left cancelled: workers write their state\n")
    assert calls.read_text().split()[-1] == "4711"


def test_a_launcher_on_another_host_is_not_worked_against(
    left: Store, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program("squeue", "echo '4711|PENDING|0:0|0:00|1:00:00|'")
    calls = program("scancel", "exit 0")
    launched(left, host="login2", pid=17)
    submitted(left, host="login2", pid=17)
    call = here(monkeypatch, capsys, "cancel")
    code, _, err = call("left", "--store", left.root)
    assert (code, calls.read_text()) == (2, "")
    assert "left may be run by process 17 on login2: cancel it there; or, if that has ended, --force" in err
    assert call("left", "--store", left.root, "--force")[0] == 0
    assert "4711" in calls.read_text()
    left.log_launch("left", {"event": "end", "host": "login2", "launcher": 17})
    assert find_launchers(left, "left").elsewhere == ()


@pytest.mark.parametrize(("host", "forced"), [({}, False), ({"host": "login2"}, True)], ids=["here", "elsewhere"])
def test_a_job_that_another_study_has_submitted_is_left_to_it(
    host: dict[str, str],
    forced: bool,
    left: Store,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program("squeue", "echo '4711|RUNNING|0:0|1:00|1:00:00|'")
    calls = program("scancel", "exit 0")
    launched(left, start=1)  # that of this study is gone
    submitted(left, **host)  # that of the other one goes on
    call = here(monkeypatch, capsys, "cancel")
    assert call("left", "--store", left.root)[:2] == (0, "nothing of left runs that can be cancelled from here\n")
    call("left", "--store", left.root, "--force")
    assert ("4711" in calls.read_text()) is forced


def test_the_background_is_given_every_option_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("mtlab.cli.study.run.go_on_in_background", lambda words, *_, **__: given.append(words) or 0)
    write_study(tmp_path, "axes: {manager: [bridge]}", "short")
    monkeypatch.chdir(tmp_path)
    command = ["short.yaml", "train.lr=1e-3", "study.seeds=2", "--workers", "1", "--fail-fast", "-d", "-q"]
    code, _, problem = here(monkeypatch, capsys, "run")(*command, "--store", "here")
    assert (code, problem) == (0, "")
    expected = ["run", "short.yaml", "train.lr=1e-3", "study.seeds=2", "--workers", "1", "--retries", "2"]
    assert given == [[*expected, "--fail-fast", "--store", str(Store.open(tmp_path / "here").root)]]
