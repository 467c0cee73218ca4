"""Damaged files of a store: told in one line with the command that mends them; no other study is stopped by them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standin import make_plan, until_decided
from tiny_study import write_study

from mtlab import checksums, files
from mtlab.cli import main
from mtlab.cli.models.export_checkpoint import plan_of
from mtlab.runs import manifest
from mtlab.runs.checked_json import write_checked_json
from mtlab.runs.results import write_result
from mtlab.runs.store import Store
from mtlab.studies.looks import record_path

Call = Callable[..., tuple[int, str, str]]
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
    """Call the command line on the store; return its code, errors and output."""

    def called(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtlab", *words, "--store", str(store.root)])
        code = main()
        out, err = capsys.readouterr()
        return code, err.strip(), " ".join(out.split())

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


#: file, place in it, value (... takes it out), command that refuses it, and how its one line goes on
REFUSED: list[tuple[str, tuple[Any, ...], Any, str, str]] = [
    ("plan.json", ("runs", 0, "seed"), ..., "status demo", "has changed since it was written: `mtlab plan FILE`"),
    ("plan.json", ("runs",), {}, "clean --runs --only store", "has changed since it was written"),
    ("plan.json", ("checksum",), ..., "report demo", "has changed since it was written"),
    ("plan.json", ("kind",), "sweep", "sweep status demo", "has changed since it was written"),
    ("result.json", ("metrics",), None, "report demo", "has changed since the run was finished: `mtlab clean --yes`"),
    ("checksums.json", ("result.json",), "00000000 1", "report demo", "is damaged: `mtlab clean --yes` sets the run"),
    ("checksums.json", ("metrics.jsonl",), ..., "report demo", "is damaged: `mtlab clean --yes` sets the run aside"),
]

CLEAN = "`mtlab clean --yes` sets the run aside, and `mtlab run` trains it again, with the same result"
AGAIN = "`mtlab run` writes it anew"
#: file, place in it, value, command that goes on, and what it tells
TOLD: list[tuple[str, tuple[Any, ...], Any, str, str]] = [
    ("result.json", ("metrics", "val/accuracy"), 0.6, "status demo", f"result.json has changed: {CLEAN}"),
    ("result.json", ("metrics", "val/accuracy"), 0.6, "status", "1 with damaged files: `mtlab status demo --store "),
    ("state.json", ("attempt",), {}, "status demo", f"state.json has changed: {CLEAN}"),
    ("state.json", ("git",), [1], "report demo", f"state.json has changed: {CLEAN}"),
    ("state.json", ("versions",), {"mtlab": "1", "torch": 2}, "report demo", f"state.json has changed: {CLEAN}"),
    ("state.json", ("threads",), 10**30, "report demo", f"state.json has changed: {CLEAN}"),
    ("state.json", ("host",), "\ud83d", "report demo", f"state.json has changed: {CLEAN}"),
    ("config.json", ("plugin_code",), [], "report demo", f"config.json has changed: {CLEAN}"),
    ("config.json", ("cell",), ..., "report demo", f"config.json has changed: {CLEAN}"),
    ("failure.json", ("kind",), ["bug"], "status demo", f"is damaged (kind: expected str, got array): {AGAIN}"),
    ("failure.json", ("attempt",), float("nan"), "status demo", f"is not JSON (NaN is no number): {AGAIN}"),
]


@pytest.mark.parametrize(("name", "at", "value", "words", "problem"), REFUSED, ids=lambda each: str(each)[:40])
def test_a_changed_file_is_refused(
    name: str, at: tuple[Any, ...], value: Any, words: str, problem: str, store: Store, call: Call
) -> None:
    path = place(store, name)
    assert call(*words.split())[0] in ((0,) if not words.startswith("sweep") else (2,))
    change(path, at, value)
    code, said, _ = call(*words.split())
    assert code == 2
    named = path.with_name("result.json") if "since the run was finished" in problem else path
    assert said.startswith(f"error: {named}: {problem}")
    assert "\n" not in said


@pytest.mark.parametrize(("name", "at", "value", "words", "problem"), TOLD, ids=lambda each: str(each)[:40])
def test_a_changed_file_is_told_and_stops_nothing(
    name: str, at: tuple[Any, ...], value: Any, words: str, problem: str, store: Store, call: Call
) -> None:
    assert "damaged" not in call(*words.split())[2]
    change(place(store, name), at, value)
    code, said, out = call(*words.split())
    assert (code, said) == (0, "")
    assert problem in out


@pytest.mark.parametrize("name", ["metrics.jsonl", "layers.safetensors", "checkpoints/best.safetensors"])
@pytest.mark.parametrize("lost", [False, True])
def test_damaged_recordings_of_a_finished_run_are_told_by_report_and_status(
    name: str, lost: bool, store: Store, call: Call
) -> None:
    run = store.run(store.plan("demo")["runs"][0]["id"])
    path = run / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"as it was")
        manifest.write(run, (run / "result.json").read_text())
    if lost:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    problem = f"{name} {'is lost' if lost else 'has changed'}: {CLEAN}"
    for words in ("report demo", "status demo"):
        assert problem in call(*words.split())[2]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b'{"format": "one"}', None], ids=str)
@pytest.mark.parametrize("name", ["store.json", "studies/demo/plan.json", "studies/demo/spec.yaml"])
def test_what_can_be_rebuilt_is(name: str, content: bytes | None, whole: Path, store: Store, call: Call) -> None:
    path, study = store.root / name, str(whole / "demo.yaml")
    before = json.loads(path.read_bytes()) if name != "studies/demo/spec.yaml" else path.read_text()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    if name == "store.json" and content is None:
        assert "is a folder, but not a store" in call("plan", study)[1]
        return
    assert call("plan", study)[:2] == (0, "")
    after = json.loads(path.read_bytes()) if name != "studies/demo/spec.yaml" else path.read_text()
    assert after == before
    assert call("status", "demo")[:2] == (0, "")


def test_a_damaged_plan_stops_no_other_study_and_clean_sets_it_aside(store: Store, call: Call) -> None:
    shutil.copytree(store.study("demo"), store.study("other"))
    change(store.study("other") / "plan.json", ("runs",), [])
    code, said, out = call("status")
    assert (code, out) == (0, "demo: 4 runs, 2 done, 1 interrupted, 1 failed")
    assert said == (
        f"damaged: {store.study('other') / 'plan.json'}: has changed since it was written: `mtlab plan FILE` writes it "
        "anew (`mtlab sweep plan FILE` that of a sweep)"
    )
    assert "1 of 1" in call("clean", "--only", "store", "--yes")[2]
    assert call("status")[:2] == (0, "")


def test_the_plan_of_a_run_is_found_beside_a_damaged_one(store: Store) -> None:
    shutil.copytree(store.study("demo"), store.study("another"))
    change(store.study("another") / "plan.json", ("runs",), [])
    plan = store.plan("demo")
    assert plan_of(plan["runs"][0]["id"], store, None) == plan
    assert plan_of("none/s0", store, None) is None


def test_a_damaged_record_of_looks_stops_no_other_study(store: Store, call: Call) -> None:
    plan, _ = until_decided(make_plan({"one": {}, "two": {}}, (0,), "looked"), "one", (2, 3), 0.5)
    store.write_plan("looked", plan)
    path = record_path(store, plan)
    path.parent.mkdir()
    path.write_text("{")
    code, said, out = call("status")
    assert (code, out) == (0, "demo: 4 runs, 2 done, 1 interrupted, 1 failed")
    assert said.startswith(f"damaged: {path}: is not JSON")
    assert said.endswith("remove it, and `mtlab run` decides anew")


def test_a_plan_of_another_version_is_told_and_written_anew(store: Store, call: Call) -> None:
    path = store.study("demo") / "plan.json"
    older = {key: value for key, value in store.plan("demo").items() if key != "seeds"} | {"format": 1}
    write_checked_json(path, older)
    problem = f"error: {path}: has format 1, this mtlab knows format 2: `mtlab plan FILE` writes it anew "
    code, said, _ = call("report", "demo")
    assert (code, said.startswith(problem), said.count("\n")) == (2, True, 0), said
    assert call("plan", str(store.root.parent / "demo.yaml"))[0] == 0
    assert store.plan("demo")["format"] == 2
    assert call("report", "demo")[0] == 0


def test_a_damaged_plan_leaves_the_name_to_its_file(store: Store, call: Call) -> None:
    (store.study("demo") / "plan.json").write_text("{")
    foreign = store.root.parent / "foreign.yaml"
    foreign.write_text((store.root.parent / "demo.yaml").read_text() + "why: another\n")
    code, said, _ = call("plan", str(foreign))
    assert (code, "perhaps of another file: choose another name, or pass --replace" in said) == (2, True)
    assert call("plan", str(foreign), "--replace")[0] == 0


def test_a_folder_in_place_of_a_file_is_told(store: Store, call: Call) -> None:
    for name, words in (
        ("studies/demo/plan.json", "report demo"),
        ("studies/demo/launch.jsonl", "status demo"),
        ("studies/demo/report/report.md", "report demo"),
    ):
        path = store.root / name
        aside = path.with_name("aside")
        if path.exists():
            path.rename(aside)
        path.mkdir(parents=True)
        code, said, _ = call(*words.split())
        assert (code, said.count("\n")) == (2, 0), (name, said)
        assert said.startswith(f"error: {path}: cannot be ")
        assert said.endswith("is a folder (expected a file): move it away")
        path.rmdir()
        if aside.exists():
            aside.rename(path)


def test_a_changed_plan_is_written_anew_as_its_message_says(store: Store, call: Call) -> None:
    change(store.study("demo") / "plan.json", ("label",), "another")
    code, said, _ = call("status", "demo")
    assert (code, "`mtlab plan FILE` writes it anew" in said) == (2, True)
    assert call("plan", str(store.root.parent / "demo.yaml"))[0] == 0
    assert call("status", "demo")[0] == 0


def test_checksums_on_a_disk_that_is_gone_are_not_called_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path) -> bytes:
        raise files.DiskError("cannot be read: Transport endpoint is not connected", file=path)

    run = place(store, "checksums.json").parent
    assert manifest.find_damage(run) == {}
    monkeypatch.setattr(files, "read_bytes", gone)
    with pytest.raises(files.DiskError, match="not connected"):
        manifest.find_damage(run)


def test_a_finished_run_without_its_checksums_is_refused(store: Store, call: Call) -> None:
    place(store, "checksums.json").unlink()
    assert "checksums.json: is lost: `mtlab clean --yes`" in call("report", "demo")[1]
    assert call("clean", "--only", "store", "--yes")[0] == 0
    assert call("report", "demo")[:2] == (0, "")


def test_an_older_file_of_another_size_is_noticed_as_after_a_merge_of_two_stores(store: Store, call: Call) -> None:
    path = place(store, "metrics.jsonl")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    os.utime(path, (0, 0))
    assert "metrics.jsonl has changed" in call("report", "demo")[2] + call("status", "demo")[2]


def test_a_damaged_result_is_set_aside_by_clean_as_it_says(store: Store, call: Call) -> None:
    change(place(store, "result.json"), ("metrics",), 5)
    code, said, _ = call("report", "demo")
    assert (code, "`mtlab clean --yes` sets the run aside" in said) == (2, True)
    assert call("clean", "--only", "store", "--yes")[0] == 0
    assert call("report", "demo")[:2] == (0, "")
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
        assert call(*words.split())[:2] == (0, "")


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
    code, said, _ = call("intervene", str(store.run(run)))
    assert (code, said.startswith(f"error: {path}: is damaged ({problem}")) == (2, True), said


def test_an_empty_file_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert checksums.read(tmp_path / "empty") is None
    assert checksums.verify(tmp_path / "empty") is None


def test_a_report_on_a_read_only_store_is_shown(
    store: Store, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = files.write_text

    def read_only(path: Path, text: str) -> None:
        if path.is_relative_to(store.root):
            raise files.as_user_error(OSError(errno.EROFS, "Read-only file system"), path)
        real(path, text)

    monkeypatch.setattr(files, "write_text", read_only)
    monkeypatch.setattr("mtlab.output_file.write_output", read_only)
    code, said, out = call("report", "demo")
    assert (code, "bridge" in out) == (0, True)
    assert said.startswith("note: not written: ")
    assert call("report", "demo", "--format", "html")[1].endswith("read-only: --out names another file")


def test_a_copy_does_not_take_over_the_study_of_its_original(whole: Path, store: Store, call: Call) -> None:
    original, copy = whole / "demo.yaml", whole / "copy.yaml"
    shutil.copy(original, copy)
    try:
        assert call("plan", str(copy))[:2] == (0, "")
        assert store.plan("demo")["spec_file"] == str(original)
        copy.write_text(original.read_text() + "why: mine\n")
        assert call("plan", str(copy))[0] == 2
        assert call("plan", str(original))[0] == 0
    finally:
        copy.unlink()
