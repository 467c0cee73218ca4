"""A store from before there were checksums, changed by hand: told in one line that names the file."""

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
from mtlab.errors import UserError
from mtlab.recording import reader
from mtlab.runs import schemas
from mtlab.runs.store import Store

Call = Callable[..., tuple[int, str]]
ROWS = [{"step": step, "seconds": 1.0, "val/accuracy": 0.1 * step} for step in (3, 6)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store as older versions left it: a planned study, two finished runs, one that failed, one cut off."""
    folder = tmp_path_factory.mktemp("whole")
    study = write_study(folder, "axes: {manager: [bridge, static]}\nbaseline: {manager: bridge}\nseeds: 2", "demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mtlab", "plan", str(study), "--store", str(folder / "runs")])
        assert main() == 0
    store = Store.open(folder / "runs")
    plan = store.plan("demo")
    (store.study("demo") / "plan.json").write_text(json.dumps(plan))
    for number, run in enumerate(plan["runs"]):
        place = store.run(run["id"])
        place.mkdir(parents=True)
        held: dict[str, Any] = {"cell": run["cell"], "seed": run["seed"], "label": run["label"], "config": {}}
        found: dict[str, Any] = {"config.json": held | {"code": plan["code"], "plugin_code": {}}}
        found["state.json"] = {"attempt": 1, "host": "h", "device": "cpu", "threads": 1}
        if number < 2:
            metrics = {"val/accuracy": 0.5, "test/accuracy": 0.4 + number / 10}
            cost = {"params": {"head": 10}, "flops_forward": 5.0, "flops": 10**20, "seconds": 1.0, "memory_mib": None}
            found["result.json"] = {"format": 1, "steps": 6, "best_step": 6, "metrics": metrics, "cost": cost}
        elif number == 2:
            found["failure.json"] = {"kind": "nan", "error": "the loss is nan", "where": "loop.py:1", "attempt": 1}
        for name, data in found.items():
            (place / name).write_text(json.dumps(data))
        (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
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
    ("plan.json", ("runs", 0, "seed"), ..., "status demo", "runs[0].seed: is missing"),
    ("plan.json", ("runs", 0), None, "status", "runs[0]: expected a mapping"),
    ("plan.json", ("runs", 0, "id"), "../x", "status demo", "runs[0].id: expected the id of a run"),
    ("plan.json", ("runs", 1, "seed"), 0, "report demo", "runs[1].id: is not that of its cell and seed"),
    ("plan.json", ("runs",), {}, "clean --runs --only store", "runs: expected a list"),
    ("plan.json", ("rows", 1, "compare_to"), "abc", "report demo", "rows[1].compare_to: no row is of that cell"),
    ("plan.json", ("rows", 0, "label"), "\ud83d", "report demo", "rows[0].label: expected a text"),
    ("plan.json", ("metrics",), [], "status", "metrics: expected a mapping"),
    ("plan.json", ("alpha",), "5 %", "report demo", "alpha: expected a number between 0 and 1"),
    ("plan.json", ("published",), None, "report demo", "published: expected a mapping"),
    ("plan.json", ("correct",), ..., "report demo --format json", "correct: is missing"),
    ("plan.json", ("kind",), "sweep", "sweep status demo", "objectives: is missing"),
    ("result.json", ("metrics", "val/accuracy"), "high", "status demo", "metrics.val/accuracy: expected a number"),
    ("result.json", ("metrics",), None, "report demo", "metrics: expected a mapping"),
    ("result.json", ("metrics", "test/accuracy"), float("nan"), "report demo", "metrics.test/accuracy: expected a"),
    ("result.json", ("steps",), 10**30, "report demo", "steps: expected a whole number"),
    ("result.json", ("cost", "params"), [1], "report demo", "cost.params: expected a mapping"),
    ("result.json", ("cost", "seconds"), [1], "report demo", "cost.seconds: expected a number"),
    ("state.json", ("attempt",), {}, "status demo", "attempt: expected a whole number"),
    ("state.json", ("git",), [1], "report demo", "git: expected a mapping"),
    ("failure.json", ("kind",), ["bug"], "status demo", "kind: expected a text"),
    ("failure.json", ("attempt",), "first", "status", "attempt: expected a whole number"),
    ("config.json", ("plugin_code",), [], "report demo", "plugin_code: expected a mapping"),
]


@pytest.mark.parametrize(("name", "at", "value", "words", "told"), DAMAGE, ids=lambda each: str(each)[:40])
def test_what_was_changed_is_told(
    name: str, at: tuple[Any, ...], value: Any, words: str, told: str, store: Store, call: Call
) -> None:
    path = place(store, name)
    assert call(*words.split())[0] in ((0,) if not words.startswith("sweep") else (2,))
    change(path, at, value)
    code, said = call(*words.split())
    assert code == 2
    assert said.startswith(f"error: {path}: is damaged ({told}")
    assert "\n" not in said


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
    assert "remove it, and all is counted anew" in said


def test_interventions_that_were_changed_are_told(tmp_path: Path) -> None:
    part = {"uniform": 0.5, "token_mean": None, "without": {"1": 0.4}}
    sound = {"standard": {"metric": "val/accuracy", "text": part, "image": part | {"by": "input"}}}
    sound |= {"swap/3": {"metric": "val/accuracy", "text": 0.1, "image": None, "both": 0.2}}
    schemas.check(sound, schemas.INTERVENTIONS, tmp_path)
    for wrong in ([], {"standard": 1}, {"standard": {"metric": "x"}}, {"swap/3": {"metric": None}}):
        with pytest.raises(UserError, match="is damaged"):
            schemas.check(wrong, schemas.INTERVENTIONS, tmp_path)


def test_an_empty_file_bears_no_seal(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert checksums.read(tmp_path / "empty") is None
    assert checksums.broken(tmp_path / "empty") is None


def test_levels_and_labels_that_are_none_are_left_out() -> None:
    about: dict[str, Any] = {"levels": {"text": ["high"], "image": [1, 2]}, "labels": {"a": 3, "b": ["x"]}}
    assert reader._levels(about) == {"image": (1, 2)}
    assert reader._labels(about) == {"a": (), "b": ("x",)}
    worth = reader.worth({"metrics": {}, "interventions": {"text": {"without": {"top": 0.5, "2": 0.4}}}})
    assert isinstance(worth, reader.Worth)
    assert worth.without["text"] == {2: 0.4}
