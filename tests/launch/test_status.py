"""How a study stands, from its stored plan and run directories alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from standin import make_plan

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.status import StudyStatus, study_statuses
from mtlab.runs.lock import RunLock
from mtlab.runs.results import write_result
from mtlab.runs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "runs", create=True)
    plan, _ = make_plan({"bridge": {}, "static": {}, "kid": {"parent": "static"}}, (0, 1))
    store.write_plan("demo", plan)
    return store


def metrics(store: Store, run: str, *values: float) -> None:
    for step, value in enumerate(values, 1):
        files.append_line(store.run(run) / "metrics.jsonl", {"step": step, "seconds": 1.0, "val/accuracy": value})
    files.write_json(store.run(run) / "state.json", {"attempt": 2, "host": "node7", "pid": 1})


def by_id(status: StudyStatus) -> dict[str, dict[str, Any]]:
    return {run["id"]: run for run in status.to_json()["runs"]}


def test_what_a_search_pruned_is_not_interrupted(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs", create=True)
    plan, _ = make_plan({"one": {}, "two": {}, "three": {}}, (0,))
    sweep = {**plan, "kind": "sweep", "study": "search", "spec_file": "search"}
    store.write_plan("search", {**sweep, "runs": []})
    (planned,) = study_statuses(store, ["search"])
    assert planned.summary() == f"search: sweep, planned: `mtlab sweep search --store {store.root}` begins it"

    store.write_plan("search", sweep)
    write_result(store.run("one/s0"), {"steps": 12, "metrics": {"val/accuracy": 0.91}})
    for run in ("two/s0", "three/s0"):
        metrics(store, run, 0.3)
        store.log_launch("search", {"event": "start", "run": run})
    store.log_launch("search", {"event": "paused", "run": "two/s0"})
    (found,) = study_statuses(store, ["search"])
    assert found.counts == {"done": 1, "pruned": 1, "interrupted": 1}
    assert found.summary() == (
        f"search: sweep, 3 trials, 1 done, 1 pruned, 1 waiting (`mtlab sweep status search --store {store.root}`)"
    )
    store.write_plan("search-final", plan | {"study": "search-final"})
    assert study_statuses(store, ["search"])[0].summary().endswith("; winners: search-final")
    store.log_launch("search", {"event": "start", "run": "two/s0"})
    assert study_statuses(store, ["search"])[0].counts == {"done": 1, "interrupted": 2}


def test_every_state_is_told(store: Store) -> None:
    metrics(store, "bridge/s0", 0.5, 0.9, 0.7)
    write_result(store.run("bridge/s0"), {"steps": 12, "metrics": {"val/accuracy": 0.91}})
    metrics(store, "bridge/s1", 0.5, 0.8, 0.6)
    metrics(store, "static/s0", 0.4)
    files.write_json(store.run("static/s0") / "failure.json", {"kind": "nan", "error": "the loss is nan"})
    metrics(store, "static/s1", 0.3)
    store.log_launch("demo", {"event": "start", "run": "static/s1"})
    store.log_launch("demo", {"event": "failed", "run": "static/s1", "why": "the worker was ended by SIGKILL"})
    with RunLock(store.run("bridge/s1")):
        status = study_statuses(store, ["demo"])[0]
    data = status.to_json()
    assert data["counts"] == {"done": 1, "running": 1, "interrupted": 1, "new": 1, "failed": 1, "blocked": 1}
    runs = by_id(status)
    assert runs["bridge/s0"] == {
        "id": "bridge/s0",
        "cell": "bridge",
        "seed": 0,
        "label": "bridge",
        "state": "done",
        "attempt": 2,
        "step": 12,
        "steps": 12,
        "metric": 0.91,
        "host": "node7",
        "age_seconds": runs["bridge/s0"]["age_seconds"],
        "problem": None,
        "job": None,
        "damaged": False,
    }
    assert 0 <= runs["bridge/s0"]["age_seconds"] < 60
    running = runs["bridge/s1"]
    assert (running["state"], running["step"], running["metric"]) == ("running", 3, 0.8)
    assert runs["static/s0"]["problem"] == (
        "nan: the loss is nan; lower train.lr, lengthen train.warmup, or set train.clip"
    )
    assert "SIGKILL" in runs["static/s1"]["problem"]
    assert runs["kid/s0"]["problem"] == "waits for static/s0"
    assert (runs["kid/s1"]["state"], runs["kid/s1"]["age_seconds"]) == ("new", None)
    assert json.loads(json.dumps(data)) == data
    assert status.summary() == "demo: 6 runs, 1 done, 1 running, 1 interrupted, 1 new, 1 failed, 1 blocked"
    assert len(status.problems()) == 3


def test_table_has_a_line_per_variant_and_a_word_per_seed(store: Store) -> None:
    metrics(store, "bridge/s0", 0.5, 0.8)
    for seed, value in ((0, 0.8), (1, 0.6)):
        write_result(store.run(f"static/s{seed}"), {"steps": 12, "metrics": {"val/accuracy": value}})
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(study_statuses(store, ["demo"])[0].table())
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert lines[0] == ["variant", "s0", "s1", "best", "val/accuracy"]
    assert lines[2] == ["bridge", "stopped", "16%", "new", "80.0", "(n", "=", "1)"]
    assert lines[3] == ["static", "done", "done", "70.0", "(n", "=", "2)"]


def test_smaller_may_be_better(store: Store) -> None:
    plan = store.plan("demo")
    plan["directions"] |= {plan["metrics"]["choose"]: "min"}
    store.write_plan("demo", plan)
    metrics(store, "bridge/s0", 0.5, 0.2, 0.4)
    assert by_id(study_statuses(store, ["demo"])[0])["bridge/s0"]["metric"] == 0.2


def test_long_histories_are_read_from_their_end(store: Store) -> None:
    path = store.run("bridge/s0") / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f'{{"step": {step}, "val/accuracy": 0.5}}\n' for step in range(20_000)))
    metrics(store, "bridge/s0")
    assert by_id(study_statuses(store, ["demo"])[0])["bridge/s0"]["step"] == 19_999


def test_the_best_value_may_lie_far_back(store: Store) -> None:
    path = store.run("bridge/s0") / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(
        "".join(f'{{"step": {step}, "val/accuracy": {0.9 if step == 20 else 0.5}}}\n' for step in range(3000))
    )
    metrics(store, "bridge/s0")
    assert by_id(study_statuses(store, ["demo"])[0])["bridge/s0"]["metric"] == 0.9


def test_an_unknown_study(store: Store) -> None:
    with pytest.raises(UserError, match="did you mean 'demo'"):
        study_statuses(store, ["dmeo"])[0]
