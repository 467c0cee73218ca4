"""A study from its file to its table, through the commands that a user types."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pytest
from calling import Command
from patience import wait_for

TIMES = ("seconds", "examples_per_second", "memory_mib")


def results(store: Path) -> dict[str, Any]:
    """Everything that runs left but times and hosts."""
    found: dict[str, Any] = {}
    for folder in sorted(store.glob("cells/*/s*")):
        result = json.loads((folder / "result.json").read_text())
        for key in TIMES:
            del result["cost"][key]
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        metrics = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
        examples = polars.read_parquet(folder / "examples.parquet").to_dicts()
        found[str(folder.relative_to(store))] = (result, metrics, examples)
    return found


@pytest.mark.slow
def test_files_of_the_current_folder_are_no_modules(study: Callable[..., Path], tmp_path: Path) -> None:
    """A user's own `statistics.py` is none of the library's, for the launcher and for its workers."""
    file, here = study("axes: {manager: [bridge]}\nseeds: 1"), tmp_path / "here"
    here.mkdir()
    (here / "statistics.py").write_text("raise SystemExit('imported')")
    command = [Path(sys.executable).with_name("mtlab"), "run", file, "--store", tmp_path / "store"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_run_report_and_run_again(study: Callable[..., Path], mtlab: Command, tmp_path: Path) -> None:
    file, store = study("axes: {manager: [bridge, static]}\nbaseline: {manager: bridge}\nseeds: 2"), tmp_path / "store"
    first = mtlab("run", file, "--store", store)
    assert first.returncode == 0, first.stderr
    assert "4 runs (4 new)" in first.stdout
    assert "written to" in first.stdout
    assert "found: On test/accuracy" in first.stdout
    assert (
        first.stdout.splitlines()[-1] == f"all figures on one page: mtlab report {file} --format html --store {store}"
    )
    before = {path: path.read_bytes() for path in store.glob("cells/*/*/*") if path.is_file()}

    again = mtlab("run", file, "--store", store)
    assert again.returncode == 0
    assert "4 runs (4 done)" in again.stdout
    assert {path: path.read_bytes() for path in store.glob("cells/*/*/*") if path.is_file()} == before

    study("axes: {manager: [bridge, static, mean]}\nbaseline: {manager: bridge}\nseeds: 2")
    status = mtlab("status", file, "--store", store)
    assert status.returncode == 0
    assert "has changed since it was planned" in status.stderr
    added = mtlab("run", file, "--store", store)
    assert "6 runs (2 new, 4 done)" in added.stdout
    assert all(path.read_bytes() == content for path, content in before.items())

    study("axes: {manager: [bridge, mean]}\nbaseline: {manager: bridge}\nseeds: 2")
    fewer = mtlab("plan", file, "--store", store, "--json")
    assert json.loads(fewer.stdout)["counts"] == {"done": 4, "no longer asked for": 2}

    tried = mtlab("plan", file, "train.lr=1e-4", "--store", store)
    assert "not written: with KEY=VALUE a plan is a trial" in tried.stdout
    assert f"next: mtlab run {file} train.lr=1e-4 --store {store}\n" in tried.stdout

    data = tmp_path / "study"  # data may lie in a folder of the study's name
    data.mkdir()
    named = subprocess.run(
        [Path(sys.executable).with_name("mtlab"), "report", "study", "--store", store],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"mtlab run {file} " in " ".join(named.stdout.split())
    data.rmdir()

    report = json.loads(mtlab("report", file, "--store", store, "--json").stdout)
    assert [row["label"] for row in report["rows"]] == ["bridge", "mean"]
    assert [row["n"] for row in report["rows"]] == [2, 2]
    assert report["rows"][1]["difference"] is not None
    out = tmp_path / "table.md"
    assert mtlab("report", file, "--store", store, "--out", out).returncode == 0
    assert "| bridge" in out.read_text() or "| **bridge" in out.read_text()


@pytest.mark.slow
def test_children_start_from_their_parents_and_are_blocked_by_failed_ones(
    study: Callable[..., Path], mtlab: Command, tmp_path: Path
) -> None:
    study("axes: {manager: [bridge]}", name="parent")
    child = study("axes: {manager: [bridge]}\nset: {train: {lr: 1e-4}}\ninit_from: {study: parent}")
    run = mtlab("run", child, "--store", tmp_path / "good")
    assert run.returncode == 0, run.stderr
    assert "2 runs (2 new)" in run.stdout
    events = [json.loads(line) for line in (tmp_path / "good/studies/study/launch.jsonl").read_text().splitlines()]
    parent, own = [event["run"] for event in events if event["event"] == "start"]
    order = [(event["event"], event["run"]) for event in events if event.get("run")]
    assert order.index(("done", parent)) < order.index(("start", own))

    # A learning rate at which the loss is no number fails the parent; the child must not start.
    study("axes: {manager: [bridge]}\nset: {train: {lr: 1e30, clip: null, warmup: 0}}", name="parent")
    bad = mtlab("run", child, "--store", tmp_path / "bad")
    assert bad.returncode == 1
    assert "blocked" in bad.stderr
    status = json.loads(mtlab("status", child, "--store", tmp_path / "bad", "--json").stdout)
    assert status["counts"] == {"failed": 1, "blocked": 1}
    assert "Traceback" not in bad.stderr


@pytest.mark.parametrize("command", ["plan", "run"])
def test_wrong_input_starts_nothing(study: Callable[..., Path], mtlab: Command, tmp_path: Path, command: str) -> None:
    file, store = study("axes: {manager: [adptive]}"), tmp_path / "store"
    told = mtlab(command, file, "--store", store)
    assert told.returncode == 2
    assert (
        told.stderr.strip()
        == f"error: {file}:3: axes.manager: adptive: unknown manager 'adptive'; did you mean 'adaptive'?"
    )
    assert not list(store.glob("cells/*"))


def test_plan_json_has_the_documented_keys(study: Callable[..., Path], mtlab: Command, tmp_path: Path) -> None:
    file = study("axes: {manager: [bridge, static]}\nbaseline: {manager: bridge}")
    plan = json.loads(mtlab("plan", file, "--store", tmp_path / "s", "--json").stdout)
    page = (Path(__file__).parents[2] / "docs/json.md").read_text()
    documented = {"study", "why", "design", "seeds", "metrics", "published", "rows", "runs", "counts", "dropped"}
    assert documented <= set(plan)
    row = {"cell", "label", "axes", "axis_labels", "differences", "baseline", "compare_to", "note", "pairing"}
    row |= {"unresolved", "blind", "questions"}
    assert all(set(each) == row for each in plan["rows"])
    run = {"id", "cell", "seed", "label", "study", "axes", "parents", "state", "cost"}
    assert all(set(each) == run for each in plan["runs"])
    named = documented | row | run | set(plan["runs"][0]["cost"])
    assert not {key for key in named if f"`{key}`" not in page}
    cost = {"trained_params", "flops_forward", "flops", "steps", "intervention_passes"}
    assert set(plan["runs"][0]["cost"]) == cost
    assert plan["rows"][1]["differences"].keys() == {
        "manager.name", "manager.weight", "manager.temperature", "manager.noise", "manager.start", "manager.frozen",
    }  # fmt: skip
    status = json.loads(mtlab("status", file, "--store", tmp_path / "s", "--json").stdout)
    assert set(status) == {"study", "metric", "counts", "runs", "looks"}
    assert not {key for key in {*status, *status["runs"][0]} if f"`{key}`" not in page}
    assert set(status["runs"][0]) == {
        "id", "cell", "seed", "label", "state", "attempt", "step", "steps", "metric", "host", "age_seconds", "problem",
        "job", "damaged",
    }  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_study_goes_on(study: Callable[..., Path], mtlab: Command, tmp_path: Path) -> None:
    file = study("axes: {manager: [static, adaptive]}\nset: {train: {length: {steps: 100}}}")
    assert mtlab("run", file, "--store", tmp_path / "calm").returncode == 0
    command = [sys.executable, "-m", "mtlab", "run", str(file), "--store", str(tmp_path / "torn")]
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any((tmp_path / "torn").glob("cells/*/*/checkpoints/last*")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "goes on from here" in errors
    assert "Traceback" not in errors
    assert len(list((tmp_path / "torn").glob("cells/*/*/result.json"))) < 2
    assert mtlab("run", file, "--store", tmp_path / "torn").returncode == 0
    assert results(tmp_path / "torn") == results(tmp_path / "calm")
