"""Files of a store that were changed by hand: refused in one line that names the file, the key and what is wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_study import write_study

from mtlab import checksums
from mtlab.cli import main
from mtlab.runs.results import write_result
from mtlab.runs.store import Store

Call = Callable[..., tuple[int, str]]
ROWS = [{"step": step, "seconds": 1.0, "val/accuracy": 0.1 * step} for step in (3, 6)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with a planned study, two finished runs, one that failed and one that was cut off."""
    folder = tmp_path_factory.mktemp("whole")
    study = write_study(folder, "axes: {manager: [bridge, static]}\nbaseline: {manager: bridge}\nseeds: 2", "demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mtlab", "plan", str(study), "--store", str(folder / "runs")])
        assert main() == 0
    store = Store.open(folder / "runs")
    plan = store.plan("demo")
    for number, run in enumerate(plan["runs"]):
        place = store.run(run["id"])
        place.mkdir(parents=True)
        held: dict[str, Any] = {"cell": run["cell"], "seed": run["seed"], "label": run["label"], "config": {}}
        written: dict[str, Any] = {"config.json": held | {"code": plan["code"], "plugin_code": {}}}
        written["state.json"] = {"attempt": 1, "host": "h", "device": "cpu", "threads": 1}
        if number < 2:
            metrics = {"val/accuracy": 0.5, "test/accuracy": 0.4 + number / 10}
            cost = {"params": {"head": 10}, "flops_forward": 5.0, "flops": 10**20, "seconds": 1.0, "memory_mib": None}
            result = {"format": 1, "steps": 6, "best_step": 6, "metrics": metrics, "cost": cost}
        elif number == 2:
            written["failure.json"] = {"kind": "nan", "error": "the loss is nan", "where": "loop.py:1", "attempt": 1}
        for name, data in written.items():
            (place / name).write_text(json.dumps(data))
        (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        if number < 2:
            write_result(place, result)
    return folder


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Store:
    shutil.copytree(whole, tmp_path / "copy")
    return Store.open(tmp_path / "copy" / "runs")


@pytest.fixture
def call(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line on the store; return its code and what it said on stderr."""

    def called(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mtlab", *words, "--store", str(store.root)])
        code = main()
        return code, capsys.readouterr().err.strip()

    return called


def place(store: Store, name: str) -> Path:
    """Find a file: that of the study, or of the first run that has one."""
    if name in ("plan.json", "launch.jsonl"):
        return store.study("demo") / name
    runs = [store.run(run["id"]) for run in json.loads((store.study("demo") / "plan.json").read_text())["runs"]]
    return next(run / name for run in runs if (run / name).exists())


def change(path: Path, at: tuple[Any, ...], value: Any) -> None:
    """Set a place within a JSON file; ... takes it out."""
    data = inside = json.loads(path.read_text())
    for key in at[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[at[-1]]
    else:
        inside[at[-1]] = value
    path.write_text(json.dumps(data))


DAMAGE: list[tuple[str, tuple[Any, ...], Any, str, str]] = [
    ("plan.json", ("runs", 0, "seed"), ..., "status demo", "has changed since it was written: `mtlab plan FILE`"),
    ("plan.json", ("runs",), {}, "clean --runs --only store", "has changed since it was written"),
    ("plan.json", ("checksum",), ..., "report demo", "has changed since it was written"),
    ("plan.json", ("kind",), "sweep", "sweep status demo", "has changed since it was written"),
    ("result.json", ("metrics", "val/accuracy"), 0.6, "status demo", "has changed since the run was finished"),
    ("result.json", ("metrics",), None, "report demo", "has changed since the run was finished: `mtlab clean --yes`"),
    ("checksums.json", ("result.json",), "00000000", "report demo", "has changed since the run was finished"),
    ("checksums.json", ("result.json",), ..., "report demo", "has changed since the run was finished"),
    ("checksums.json", ("result.json",), 5, "report demo", "is damaged: `mtlab clean --yes` sets the run aside"),
    ("state.json", ("attempt",), {}, "status demo", "is damaged (attempt: expected int, got object)"),
    ("state.json", ("git",), [1], "report demo", "is damaged (git: expected object | null, got array)"),
    (
        "state.json",
        ("versions",),
        {"mtlab": "1", "torch": 2},
        "report demo",
        "is damaged (versions.torch: expected str",
    ),
    ("state.json", ("threads",), 10**30, "report demo", "is damaged (threads: expected int"),
    ("state.json", ("host",), "\ud83d", "report demo", "is not JSON ("),
    ("failure.json", ("kind",), ["bug"], "status demo", "is damaged (kind: expected str, got array)"),
    ("failure.json", ("attempt",), float("nan"), "status", "is not JSON (NaN is no number)"),
    ("config.json", ("plugin_code",), [], "report demo", "is damaged (plugin_code: expected object, got array)"),
    ("config.json", ("cell",), ..., "report demo", "is damaged (object missing required field cell)"),
]


@pytest.mark.parametrize(("name", "at", "value", "words", "problem"), DAMAGE, ids=lambda each: str(each)[:40])
def test_a_changed_file_is_refused(
    name: str, at: tuple[Any, ...], value: Any, words: str, problem: str, store: Store, call: Call
) -> None:
    path = place(store, name)
    assert call(*words.split())[0] in ((0,) if not words.startswith("sweep") else (2,))
    change(path, at, value)
    code, said = call(*words.split())
    assert code == 2
    named = path.with_name("result.json") if "since the run was finished" in problem else path
    assert said.startswith(f"error: {named}: {problem}")
    assert "\n" not in said


def test_a_changed_plan_is_written_anew_as_its_message_says(store: Store, call: Call) -> None:
    change(store.study("demo") / "plan.json", ("label",), "another")
    code, said = call("status", "demo")
    assert (code, "`mtlab plan FILE` writes it anew" in said) == (2, True)
    assert call("plan", str(store.root.parent / "demo.yaml"))[0] == 0
    assert call("status", "demo")[0] == 0


def test_a_finished_run_without_its_checksums_is_refused(store: Store, call: Call) -> None:
    place(store, "checksums.json").unlink()
    assert "checksums.json: is lost: `mtlab clean --yes`" in call("report", "demo")[1]
    assert call("clean", "--only", "store", "--yes")[0] == 0
    assert call("report", "demo") == (0, "")


def test_a_damaged_result_is_set_aside_by_clean_as_it_says(store: Store, call: Call) -> None:
    change(place(store, "result.json"), ("metrics",), 5)
    code, said = call("report", "demo")
    assert (code, "`mtlab clean --yes` sets the run aside" in said) == (2, True)
    assert call("clean", "--only", "store", "--yes")[0] == 0
    assert call("report", "demo") == (0, "")
    assert store.state(store.plan("demo")["runs"][0]["id"]) == "new"


@pytest.mark.parametrize("name", ["metrics.jsonl", "launch.jsonl"])
@pytest.mark.parametrize(
    "line", ['{"step": []}', '{"step": 3, "val/accuracy": {}}', '{"run": [], "event": "failed"}', "[]"]
)
def test_lines_that_are_none_are_left_out(name: str, line: str, store: Store, call: Call) -> None:
    path = store.run(store.plan("demo")["runs"][3]["id"]) / name if name == "metrics.jsonl" else place(store, name)
    with path.open("a") as stream:
        stream.write(line + "\n")
    for words in ("status demo", "report demo"):
        assert call(*words.split()) == (0, "")


def test_counted_costs_that_were_changed_are_told(whole: Path, store: Store, call: Call) -> None:
    path = store.root / "costs.json"
    known = json.loads(path.read_text())
    change(path, (next(iter(known)), "params", "head"), [])
    code, said = call("plan", str(whole / "demo.yaml"))
    assert code == 2
    assert said.startswith(f"error: {path}: is damaged (")
    assert "remove it, and all costs are counted again" in said


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ([], "expected object, got array"),
        ({"standard": 1}, "standard: expected object, got int"),
        ({"standard": {"metric": "x"}}, "standard: object missing required field text"),
        (
            {"standard": {"metric": "x", "text": {"without": {"top": 0.4}}, "image": {"without": {}}}},
            "standard.text.without: expected str matching regex '^[0-9]+$'",
        ),
        ({"swap/x": {}}, "unknown key 'swap/x'"),
        ({"swap/3": {"metric": None}}, "swap/3.metric: expected str, got null"),
    ],
)
def test_changed_interventions_are_refused(stored: Any, problem: str, store: Store, call: Call) -> None:
    run = store.plan("demo")["runs"][0]["id"]
    path = store.derived(run) / "interventions.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(stored))
    code, said = call("intervene", str(store.run(run)))
    assert (code, said.startswith(f"error: {path}: is damaged ({problem}")) == (2, True), said


def test_an_empty_file_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert checksums.read(tmp_path / "empty") is None
    assert checksums.verify(tmp_path / "empty") is None
