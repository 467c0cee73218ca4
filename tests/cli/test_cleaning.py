"""What `mtlab clean` takes and what it leaves: real locks, real processes, a real cache folder."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mtlab.cli import main
from mtlab.data.cache.locks import LOCKS, QUARANTINE, SharedLock
from mtlab.errors import UserError
from mtlab.runs import cleanup
from mtlab.runs.cleanup import InUseError, find_in_store
from mtlab.runs.lock import RunLock
from mtlab.runs.results import write_result
from mtlab.runs.store import Store
from mtlab.runs.unplanned_runs import find_unplanned_runs

HOLD = """
import sys, pathlib
from mtlab.runs.lock import RunLock
with RunLock(pathlib.Path(sys.argv[1]), interval=0.05, patience=1.0) as held:
    print("held", flush=True)
    sys.stdin.readline()
"""
OLD = 7200.0  #: seconds ago: longer than anybody's work in progress stands still

Call = Callable[..., tuple[int, Any]]


def age(path: Path, seconds: float = OLD) -> Path:
    """Make a file, or a folder with all that it holds, look as if nobody had changed it for long."""
    then = time.time() - seconds
    for each in sorted(path.rglob("*"), reverse=True) if path.is_dir() else []:
        os.utime(each, (then, then))
    os.utime(path, (then, then))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs", create=True)


@pytest.fixture
def folder(store: Store) -> Callable[..., Path]:
    """Make a run directory, finished or not, that has stood still for long."""

    def make(run: str, *, done: bool = False, old: bool = True) -> Path:
        path = store.run(run)
        (path / "checkpoints").mkdir(parents=True)
        (path / "config.json").write_text("{}")
        if done:
            write_result(path, {"steps": 1, "metrics": {}})
        return age(path) if old else path

    return make


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path) -> Call:
    """Run `mtlab clean … --json`; return its code and what it printed."""

    def run(*arguments: object) -> tuple[int, Any]:
        capsys.readouterr()
        monkeypatch.setenv("MTLAB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", ["mtlab", "clean", *map(str, arguments), "--store", str(store.root), "--json"])
        code = main()
        told = capsys.readouterr()
        return code, json.loads(told.out) if told.out else told.err

    return run


@pytest.fixture
def worker() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Start a process that holds a run, and wait until it does."""
    started: list[subprocess.Popen[str]] = []

    def start(run: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def plan(store: Store, name: str, runs: list[str]) -> None:
    (store.study(name)).mkdir(parents=True, exist_ok=True)
    (store.study(name) / "spec.yaml").write_text(f"name: {name}\n")
    store.write_plan(name, {"study": name, "runs": [{"id": run, "parents": []} for run in runs]})


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_leftovers_of_a_killed_worker_are_told_first_and_removed_with_yes(
    call: Call, folder: Any, worker: Any, store: Store
) -> None:
    run = folder("aa/s0")
    process = worker(run)
    process.kill()
    process.wait()
    (run / ".tmp-1-metrics").write_bytes(b"x" * 10)
    (run / "checkpoints/.tmp-2-last.safetensors").write_bytes(b"x" * 20)
    (run / "checkpoints/last.safetensors.corrupt").write_bytes(b"x" * 30)
    before = tree(store.root)
    code, told = call()
    assert (code, told["dry_run"], tree(store.root)) == (0, True, before)
    found = {Path(item["path"]).name: item["kind"] for item in told["items"]}
    assert found == {
        "lock.json": "stale lock",
        ".tmp-1-metrics": "temporary",
        ".tmp-2-last.safetensors": "temporary",
        "last.safetensors.corrupt": "set aside",
    }
    assert told["bytes"] == sum(item["bytes"] for item in told["items"]) > 60
    code, told = call("--yes")
    assert code == 0
    assert all(item["removed"] for item in told["items"])
    assert {path.name for path in run.rglob("*")} == {"config.json", "checkpoints"}
    assert call()[1]["items"] == []


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "checkpoints/best.safetensors", "checksums.json"])
def test_a_damaged_finished_run_is_told_set_aside_and_free_to_be_trained_again(
    call: Call, folder: Any, store: Store, name: str
) -> None:
    run = folder("aa/s0")
    for file in ("metrics.jsonl", "checkpoints/best.safetensors"):
        (run / file).write_bytes(b'{"step": 1}\n')
    write_result(run, {"metrics": {}})
    assert call()[1]["items"] == []
    (run / "checkpoints/last.safetensors").write_bytes(b"x")  # as if its writer had been killed before removing it
    assert [item["kind"] for item in call("--yes")[1]["items"]] == ["temporary"]
    assert call()[1]["items"] == []
    damaged = bytearray((run / name).read_bytes())
    damaged[3] ^= 4
    (run / name).write_bytes(damaged)
    if name == "result.json":
        with pytest.raises(UserError, match=r"has changed since .*`mtlab clean --yes`"):
            store.result("aa/s0")
    (item,) = call()[1]["items"]
    assert item["kind"] == "damaged"
    assert name in item["why"]
    assert call("--yes")[0] == 0
    assert store.state("aa/s0") == "new"
    (aside,) = run.parent.glob(".corrupt-s0-*")
    assert (aside / name).read_bytes() == damaged
    assert call("--yes")[1]["items"][0]["kind"] == "set aside"
    assert not aside.exists()


def test_a_live_worker_keeps_its_lock_its_files_and_its_run(call: Call, folder: Any, worker: Any) -> None:
    run = folder("aa/s0")
    worker(run)
    scratch = run / ".tmp-1-metrics"
    scratch.write_bytes(b"x")
    age(run)
    code, told = call("--yes", "--runs")
    assert (code, told["items"]) == (0, [])
    assert [(Path(each["path"]).name, each["why"]) for each in told["kept"]] == [("s0", "a worker holds it")]
    assert scratch.exists()
    assert (run / "lock.json").exists()


def test_a_run_that_is_taken_between_finding_and_removing_stays(folder: Any, store: Store) -> None:
    run = folder("aa/s0")
    age(run)
    (item,) = find_unplanned_runs(store).items
    with RunLock(run, interval=0.05), pytest.raises(InUseError):
        item.remove()
    assert run.exists()
    plan(store, "late", ["aa/s0"])
    age(run)
    with pytest.raises(InUseError, match="a plan asks for it"):
        item.remove()


def test_a_lock_of_another_host_is_watched_and_only_then_stale(folder: Any, store: Store) -> None:
    still, beating = folder("aa/s0"), folder("bb/s0")
    who = {"host": "elsewhere", "boot": "b", "space": "s", "pid": 1, "start": 1}
    for run in (still, beating):
        (run / "lock.json").write_text(json.dumps({**who, "beat": 0}))
    beats = 0
    said = set()

    def seen(text: str) -> None:
        nonlocal beats
        said.add(text)
        beats += 1
        (beating / "lock.json").write_text(json.dumps({**who, "beat": beats}))

    found = find_in_store(store, patience=1.0, progress=seen)
    assert [item.path for item in found.items] == [still / "lock.json"]
    assert found.kept == [(beating / "lock.json", "held by process 1 on elsewhere")]
    assert "watching 2 locks of other hosts for 1 s" in said
    (still / "lock.json").write_text(json.dumps({**who, "beat": 1}))  # it wakes up
    with pytest.raises(InUseError):
        found.items[0].remove()
    assert (still / "lock.json").exists()


def test_files_that_may_still_be_written_are_kept(call: Call, store: Store) -> None:
    (store.root / "studies/one").mkdir(parents=True)
    fresh, old = store.root / "studies/one/.tmp-1-plan.json", store.root / "studies/one/.tmp-2-plan.json"
    staging = store.root / "cells/aa/.tmp-s0"
    staging.mkdir(parents=True)
    table = store.root / "studies/one/report/.tmp-4-report.md"
    table.parent.mkdir()
    outcomes = store.root / "derived/aa/s0/eval/.tmp-5-shapes-val.parquet"
    outcomes.parent.mkdir(parents=True)
    for path in (fresh, old, table, outcomes, staging / "config.json", store.root / ".tmp-3-state.json"):
        path.write_text("x")
    for path in (old, table, outcomes, staging):
        age(path)
    code, told = call("--yes")
    assert code == 0
    removed = {Path(item["path"]).name for item in told["items"]}
    assert removed == {".tmp-2-plan.json", ".tmp-4-report.md", ".tmp-5-shapes-val.parquet", ".tmp-s0"}
    assert {Path(each["path"]).name for each in told["kept"]} == {".tmp-1-plan.json", ".tmp-3-state.json"}
    assert fresh.exists()
    assert not old.exists()
    assert not staging.exists()


def test_runs_go_only_with_runs_and_only_those_that_no_plan_asks_for(call: Call, folder: Any, store: Store) -> None:
    plan(store, "one", ["aa/s0", "parent/s0"])
    plan(store, "two", ["bb/s0"])
    kept = [folder(run, done=True) for run in ("aa/s0", "parent/s0", "bb/s0")]
    gone, young = folder("cc/s0", done=True), folder("dd/s0", old=False)
    store.derived("cc/s0").mkdir(parents=True)
    assert call("--yes")[1]["items"] == []
    code, told = call("--runs")
    assert (code, [item["path"] for item in told["items"]]) == (0, [str(gone)])
    assert told["items"][0]["why"] == "no stored plan asks for it, finished"
    assert told["kept"] == [{"path": str(young), "why": "changed within the last hour"}]
    assert gone.exists()
    code, told = call("--runs", "--yes")
    assert code == 0
    assert not gone.exists()
    assert not store.derived("cc/s0").exists()
    assert all((path / "result.json").exists() for path in kept)
    assert young.exists()


def test_seeds_that_later_looks_may_ask_for_stay(folder: Any, store: Store) -> None:
    for run in ("aa/s0", "aa/s1", "aa/s2", "aa/s3"):
        folder(run, done=True)
    asked = {"study": "one", "runs": [{"id": "aa/s0", "cell": "aa"}], "seeds": [0, 1, 2]}
    for sequential, left in ((None, ["s1", "s2", "s3"]), ({"min": 1}, ["s3"])):
        store.write_plan("one", asked | {"sequential": sequential})
        assert [item.path.name for item in find_unplanned_runs(store).items] == left


def test_names_limit_runs_to_those_that_a_study_started(call: Call, folder: Any, store: Store) -> None:
    plan(store, "one", [])
    plan(store, "two", [])
    first, second = folder("aa/s0"), folder("bb/s0")
    store.log_launch("one", {"event": "start", "run": "aa/s0"})
    store.log_launch("two", {"event": "start", "run": "bb/s0"})
    assert call("--runs", "one", "--yes")[0] == 0
    assert (first.exists(), second.exists()) == (False, True)
    code, told = call("--runs", "tow")
    assert code == 2
    assert "did you mean 'two'?" in told


def test_a_study_without_a_readable_plan_stops_runs_from_going(call: Call, folder: Any, store: Store) -> None:
    run = folder("aa/s0")
    plan(store, "one", ["aa/s0"])
    (store.study("one") / "plan.json").unlink()
    code, told = call("--runs", "--yes")
    assert code == 2
    assert "has no plan" in told
    (store.study("one") / "plan.json").write_text("{")
    code, told = call("--runs", "--yes")
    assert code == 2
    assert "is not JSON" in told
    assert run.exists()


def test_the_cache_is_brought_to_its_limit_without_what_is_held(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache/experts"
    for number, name in enumerate(("oldest", "older", "newer", "newest")):
        (folder / name).mkdir(parents=True)
        (folder / name / "features.bin").write_bytes(b"x" * 400_000)
        (folder / name / "used").touch()
        os.utime(folder / name / "used", (number + 1, number + 1))
    (folder / QUARANTINE).mkdir()
    (folder / QUARANTINE / "damaged").write_bytes(b"x" * 50)
    (folder / "newest/.tmp-1-features.bin").write_bytes(b"x")
    age(folder / "newest/.tmp-1-features.bin")
    monkeypatch.setenv("MTLAB_CACHE_LIMIT_GB", "0.001")
    hold = SharedLock(folder / LOCKS / "oldest")
    code, told = call()
    assert code == 0
    found = {Path(item["path"]).name: item["kind"] for item in told["items"]}
    assert found == {QUARANTINE: "set aside", "older": "cache", "newer": "cache", ".tmp-1-features.bin": "temporary"}
    assert [(Path(each["path"]).name, each["why"]) for each in told["kept"]] == [("oldest", "in use")]
    assert (folder / "older/features.bin").exists()
    assert call("--only", "store", "--yes")[1]["items"] == []
    code, told = call("--yes", "--only", "cache")
    assert code == 0
    assert {path.name for path in folder.iterdir()} == {LOCKS, "oldest", "newest"}
    hold.release()


def test_what_cannot_be_removed_is_told_and_the_code_is_1(
    call: Call, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / ".tmp-1-state.json").write_text("x")
    age(store.root / ".tmp-1-state.json")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cleanup, "remove_path", refuse)
    code, told = call("--yes")
    assert code == 1
    assert told["items"][0]["problem"] == "Permission denied"
    assert told["items"][0]["removed"] is False
    assert told["bytes"] == 0


def test_the_terminal_says_what_would_go_and_how(
    call: Call, folder: Any, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(find_in_store.__kwdefaults__, "patience", 0.5)  # seconds; three calls watch the lock
    run = folder("aa/s0")
    dead = {"host": socket.gethostname(), "boot": "before the restart", "space": "", "pid": 1, "start": 1}
    (run / "lock.json").write_text(json.dumps({**dead, "beat": 1}))
    monkeypatch.setattr(sys, "argv", ["mtlab", "clean", "--store", str(store.root)])
    assert main() == 0
    out = capsys.readouterr().out
    assert "stale lock: 1, " in out
    assert f"  {run / 'lock.json'}  " in out
    assert "nothing was touched: add --yes to remove" in out
    monkeypatch.setattr(sys, "argv", ["mtlab", "clean", "--yes", "--store", str(store.root)])
    assert main() == 0
    assert "removed 1 of 1, " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["mtlab", "clean", "--store", str(store.root)])
    assert main() == 0
    assert f"nothing to remove in {store.root} and " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["one"], "names of studies limit --runs"),
        (["--runs", "--only", "cache"], "leave --only cache out"),
        (["--only", "attic"], "'attic' is not one of 'store', 'cache'"),
    ],
)
def test_wrong_input_is_told_in_one_line(call: Call, arguments: list[str], expected: str) -> None:
    code, told = call(*arguments)
    assert code == 2
    assert expected in told
    assert told.count("\n") == 1


def test_without_a_store_the_cache_is_cleaned_and_runs_are_not_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("MTLAB_STORE")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mtlab", "clean"])
    assert main() == 0
    assert "nothing to remove in " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["mtlab", "clean", "--runs"])
    assert main() == 2
    assert "no store here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_cleaning_does_not_wait_for_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['mtlab', 'clean']; from mtlab.cli import main; main(); print('torch' in sys.modules)"
    )
    environment = {"MTLAB_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "False"
