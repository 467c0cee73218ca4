"""Runs whose jobs wait in Slurm's queue, as `status` and the dashboard show them: queried rarely, never waited for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from standin import make_plan

from mtlab import files
from mtlab.cli import main
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.launch.slurm import pending
from mtlab.launch.status import study_statuses
from mtlab.processes import current_process
from mtlab.runs.results import write_result
from mtlab.runs.store import Store

Squeue = Callable[[str], Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "runs", create=True)
    plan, configs = make_plan({"bridge": {}, "static": {}, "kid": {"parent": "static"}}, (0, 1))
    store.write_plan("demo", plan)
    for run, config in configs.items():
        store.create_run(run, config)
    return store


@pytest.fixture
def squeue(program: Callable[[str, str], Path]) -> Squeue:
    """Put a `squeue` of a test's own on the path; it returns the file in which each query is a line."""
    return lambda script: program("squeue", script)


def submit(store: Store, run: str, job: object) -> None:
    """Leave in a run's folder what its launcher leaves there."""
    files.write_json(store.run(run) / "slurm" / "job.json", {"job": job, "launcher": current_process().to_json()})


def lines(*said: str) -> str:
    return "\n".join(f"echo '{line}|0:0|0:00|UNLIMITED|'" for line in said)


def states(store: Store) -> dict[str, str]:
    return {run.id: run.state for run in study_statuses(store, ["demo"])[0].runs}


def test_what_waits_is_queued_with_its_job_and_the_queue_is_asked_once(store: Store, squeue: Squeue) -> None:
    asked = squeue(lines("7|PENDING", "8|RUNNING", "9|PENDING", "10|CANCELLED"))
    for number, run in enumerate(("bridge/s0", "bridge/s1", "static/s0", "static/s1"), 7):
        submit(store, run, number)
    files.write_json(store.run("bridge/s0") / "state.json", {"attempt": 1})  # put back into the queue
    files.write_json(store.run("static/s0") / "failure.json", {"kind": "nan", "error": "nan"})  # and submitted again
    store.write_plan("again", store.plan("demo"))
    found, _ = study_statuses(store, ["demo", "again"])
    runs = {run.id: run for run in found.runs}
    assert {run.id: (run.state, run.job) for run in found.runs} == {
        "bridge/s0": ("queued", 7),
        "bridge/s1": ("new", None),  # it has a place, and its worker has not begun
        "static/s0": ("queued", 9),
        "static/s1": ("new", None),
        "kid/s0": ("new", None),  # its parent is tried again
        "kid/s1": ("new", None),
    }
    assert found.summary() == "demo: 6 runs, 2 queued, 4 new"
    assert runs["static/s0"].problem is None
    assert asked.read_text().count("\n") == 1
    assert "--jobs=7,8,9,10 " in asked.read_text()


def test_the_command_says_it(
    store: Store, squeue: Squeue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    squeue(lines("4711|PENDING"))
    submit(store, "bridge/s1", 4711)
    monkeypatch.setattr(sys, "argv", ["mtlab", "status", "demo", "--store", str(store.root)])
    assert main() == 0
    assert "queued (job 4711)" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(sys, "argv", ["mtlab", "status", "--json", "--store", str(store.root)])
    assert main() == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"queued": 1, "new": 5}


@pytest.mark.parametrize(
    "script",
    [
        "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
        "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
        "echo nonsense",
        "exec sleep 30",
        None,
    ],
)
def test_a_queue_that_does_not_answer_changes_nothing(
    store: Store, squeue: Squeue, script: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        squeue(script)
    monkeypatch.setattr(pending, "TIMEOUT", 0.5)
    before = states(store)
    submit(store, "bridge/s0", 7)
    submit(store, "bridge/s1", "seven")
    began = time.monotonic()
    assert states(store) == before
    assert time.monotonic() - began < 25, "no answer was waited for"


def test_no_question_is_asked_where_no_job_can_wait(store: Store, squeue: Squeue) -> None:
    asked = squeue(lines("7|PENDING"))
    study_statuses(store, ["demo"])[0]
    submit(store, "bridge/s0", 7)
    write_result(store.run("bridge/s0"), {"steps": 12, "metrics": {"val/accuracy": 0.9}})
    (store.run("bridge/s1") / "slurm").mkdir()
    (store.run("bridge/s1") / "slurm" / "job.json").write_text("{")
    study_statuses(store, ["demo"])[0]
    assert asked.read_text() == ""


def test_the_dashboard_agrees_and_asks_again_only_after_a_while(store: Store, squeue: Squeue) -> None:
    asked = squeue(lines("7|PENDING"))
    submit(store, "bridge/s0", 7)
    data = DashboardData(store.root, max_age=0.0)
    try:
        for _ in range(3):
            card = data.study("demo")
        (queued,) = (run for run in card.runs if run.condition == "queued")
        assert (queued.id, queued.job) == ("bridge/s0", 7)
        assert card.counts == {"queued": 1, "new": 5}
    finally:
        data.close()
    assert asked.read_text().count("\n") == 1
