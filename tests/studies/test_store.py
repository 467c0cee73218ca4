"""Where things lie, what a run's directory says of it, and what is refused."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtlab import files
from mtlab.config.load import composed_text
from mtlab.errors import UserError
from mtlab.processes import current_process
from mtlab.runs.lock import RunLock, lock_path
from mtlab.runs.results import write_result
from mtlab.runs.store import Store, run_id, store_root


def config(seed: int = 0, *, lr: float = 0.1, threads: int = 1) -> dict[str, Any]:
    return {"format": 1, "cell": "abc", "seed": seed, "identity": {"lr": lr}, "config": {"lr": lr, "threads": threads}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs", create=True)


def test_root_is_the_option_else_the_environment_else_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTLAB_STORE", raising=False)
    assert store_root() == tmp_path / "runs"
    monkeypatch.setenv("MTLAB_STORE", "/elsewhere")
    assert store_root() == Path("/elsewhere")
    assert store_root("mine") == tmp_path / "mine"


def test_opening_makes_a_store_only_when_asked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store here"):
        Store.open(tmp_path / "runs")
    assert os.listdir(tmp_path) == []
    Store.open(tmp_path / "runs", create=True)
    assert files.read_json(tmp_path / "runs" / "store.json") == {"format": 1}
    assert Store.open(tmp_path / "runs").root == tmp_path / "runs"


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    for create in (True, False):
        with pytest.raises(UserError, match="not a store"):
            Store.open(tmp_path, create=create)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_store_whose_maker_was_killed_half_way_is_made(tmp_path: Path) -> None:
    (tmp_path / f"{files.TEMPORARY}12-store.json").write_text("")
    assert Store.open(tmp_path, create=True).root == tmp_path


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 2}')
    with pytest.raises(UserError, match="format 2, this mtlab knows format 1") as caught:
        Store.open(tmp_path)
    assert caught.value.file == tmp_path / "store.json"


def test_a_root_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        Store.open(tmp_path / "file" / "runs", create=True)


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="needs a folder in which nobody may write")
def test_a_root_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(UserError, match="choose another --store"):
        Store.open(Path("/proc/runs"), create=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_can_be_read_and_not_run(store: Store) -> None:
    store.root.chmod(0o500)
    assert Store.open(store.root).root == store.root
    with pytest.raises(UserError, match="permission denied"):
        Store.open(store.root, create=True)


def test_ids_cannot_leave_the_store(store: Store) -> None:
    assert store.run(run_id("abc", 3)) == store.root / "cells" / "abc" / "s3"
    assert store.derived("abc/s3") == store.root / "derived" / "abc" / "s3"
    for wrong in ("../x/s0", "abc", "abc/s", "abc/0", "abc/s0/..", "/abc/s0"):
        with pytest.raises(ValueError, match="is no run id"):
            store.run(wrong)
    for name in ("..", "a/b", "", ".hidden"):
        with pytest.raises(UserError, match="no name for a study"):
            store.study(name)


def test_a_run_is_created_once(store: Store) -> None:
    directory = store.create_run("abc/s0", config())
    assert os.listdir(directory) == ["config.json"]
    before = (directory / "config.json").stat()
    written = (before.st_ino, before.st_mtime_ns)
    assert store.create_run("abc/s0", config()) == directory
    after = (directory / "config.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == written
    assert sorted(os.listdir(directory.parent)) == [".s0.guard", "s0"]
    assert store.config("abc/s0") == config()


def test_another_configuration_under_the_same_id_is_refused(store: Store) -> None:
    store.create_run("abc/s0", config())
    with pytest.raises(UserError, match="another configuration"):
        store.create_run("abc/s0", config(lr=0.2))
    assert store.config("abc/s0") == config()


def test_settings_outside_the_identity_reach_unfinished_runs_alone(store: Store) -> None:
    directory = store.create_run("abc/s0", config())
    with RunLock(directory):
        store.create_run("abc/s0", config(threads=2))
        assert store.config("abc/s0") == config()
    store.create_run("abc/s0", config(threads=2))
    assert store.config("abc/s0") == config(threads=2)
    write_result(directory, {})
    store.create_run("abc/s0", config(threads=4))
    assert store.config("abc/s0") == config(threads=2)


def _create(root: Path, threads: int) -> None:
    Store(root).create_run("abc/s0", config(threads=threads))


def test_two_may_create_a_run_at_once(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        makers = [context.Process(target=_create, args=(store.root, 1)) for _ in range(4)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
            assert maker.exitcode == 0
        assert store.config("abc/s0") == config()
        assert sorted(os.listdir(store.run("abc/s0").parent)) == [".s0.guard", "s0"]
        (store.run("abc/s0") / "config.json").unlink()
        store.run("abc/s0").rmdir()


def test_states(store: Store) -> None:
    assert store.state("abc/s0") == "new"
    directory = store.create_run("abc/s0", config())
    assert store.state("abc/s0") == "new"
    with RunLock(directory):
        assert store.state("abc/s0") == "running"
    files.write_json(directory / "state.json", {"attempt": 1})
    assert store.state("abc/s0") == "interrupted"
    assert store.run_state("abc/s0") == {"attempt": 1}
    files.write_json(directory / "failure.json", {"kind": "bug"})
    assert store.state("abc/s0") == "failed"
    assert store.failure("abc/s0") == {"kind": "bug"}
    assert store.result("abc/s0") is None
    files.write_json(lock_path(directory), {**current_process().to_json(), "boot": "earlier", "beat": 1})
    assert store.state("abc/s0") == "failed"
    write_result(directory, {"steps": 3, "metrics": {}})
    assert store.state("abc/s0") == "done"
    assert store.result("abc/s0") == {"steps": 3, "metrics": {}}


def test_what_waits_for_a_failed_run_is_blocked(store: Store) -> None:
    runs = [
        {"id": "ccc/s0", "parents": ["bbb/s0"]},
        {"id": "aaa/s0", "parents": []},
        {"id": "bbb/s0", "parents": ["aaa/s0"]},
        {"id": "bbb/s1", "parents": ["aaa/s1"]},
        {"id": "aaa/s1", "parents": []},
    ]
    files.write_json(store.run("aaa/s0") / "failure.json", {"kind": "bug"})
    assert store.states({"runs": runs}) == {
        "aaa/s0": "failed",
        "aaa/s1": "new",
        "bbb/s0": "blocked",
        "bbb/s1": "new",
        "ccc/s0": "blocked",
    }


def test_metrics_of_a_run_that_has_none(store: Store) -> None:
    assert store.metrics("abc/s0") == []
    files.append_line(store.run("abc/s0") / "metrics.jsonl", {"step": 1})
    assert store.metrics("abc/s0") == [{"step": 1}]


def test_a_name_belongs_to_one_file(store: Store, tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    folder = store.claim_study("demo", first, "name: demo\n")
    store.write_plan("demo", {"spec_file": str(first), "runs": []})
    assert store.plan("demo") == {"format": 2, "spec_file": str(first), "runs": []}
    assert (folder / "spec.yaml").read_text() == "name: demo\n"
    store.claim_study("demo", first, "name: demo\nseeds: 2\n")  # the same file, edited
    with pytest.raises(UserError, match="choose another name, or pass --replace") as caught:
        store.claim_study("demo", second, "name: demo\nseeds: 3\n")
    assert (caught.value.file, caught.value.key) == (second, "name")
    assert (folder / "spec.yaml").read_text() == "name: demo\nseeds: 2\n"
    store.claim_study("demo", second, "name: demo\nseeds: 2\n")  # the same study, moved
    store.claim_study("demo", second, "name: demo\nseeds: 3\n", replace=True)
    assert (folder / "spec.yaml").read_text() == "name: demo\nseeds: 3\n"
    assert store.study_names() == []


def test_a_file_within_a_store_that_was_moved_keeps_its_study(store: Store, tmp_path: Path) -> None:
    file = store.study("hunt") / "final.yaml"
    store.claim_study("hunt-final", file, "name: hunt-final\n")
    store.write_plan("hunt-final", {"spec_file": str(file), "runs": []})
    moved = Store.open(store.root.rename(tmp_path / "elsewhere"))
    moved.claim_study("hunt-final", moved.study("hunt") / "final.yaml", "name: hunt-final\nseeds: 2\n")
    with pytest.raises(UserError, match="pass --replace"):
        moved.claim_study("hunt-final", moved.study("hunt") / "declared.yaml", "name: hunt-final\n")


def test_an_unknown_study_offers_the_nearest(store: Store) -> None:
    store.write_plan("aggregation", {"runs": []})
    with pytest.raises(UserError, match="did you mean 'aggregation'"):
        store.plan("agregation")


def test_launch_log(store: Store) -> None:
    store.log_launch("demo", {"event": "start"})
    store.log_launch("demo", {"event": "end"})
    assert [row["event"] for row in files.read_jsonl(store.study("demo") / "launch.jsonl")] == ["start", "end"]


def test_this_room_imports_no_torch() -> None:
    script = (
        "import json, sys, mtlab.runs.store, mtlab.launch.launcher, mtlab.launch.views.live, mtlab.launch.status\n"
        "print(json.dumps(sorted({'torch', 'polars', 'rich', 'timm', 'transformers', 'numpy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []


def test_a_study_is_told_from_one_with_other_bases(tmp_path: Path, store: Store) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, steps in ((here, 2), (there, 3)):
        folder.mkdir()
        (folder / "low.yaml").write_text(f"set: {{train: {{length: {{steps: {steps}}}}}}}\n")
        (folder / "demo.yaml").write_text("base: low\nname: demo\n")
    first, second = composed_text(here / "demo.yaml"), composed_text(there / "demo.yaml")
    store.claim_study("demo", here / "demo.yaml", first)
    store.write_plan("demo", {"spec_file": str(here / "demo.yaml"), "runs": []})
    with pytest.raises(UserError, match="choose another name, or pass --replace"):
        store.claim_study("demo", there / "demo.yaml", second)
    (there / "low.yaml").write_text((here / "low.yaml").read_text())
    assert not store.check_claim("demo", there / "demo.yaml", composed_text(there / "demo.yaml"))
    store.write_plan("demo", {"spec_file": str(there / "demo.yaml"), "runs": []})
    assert store.plan("demo")["spec_file"] == str(here / "demo.yaml")  # a copy of it
    (here / "low.yaml").unlink()
    store.write_plan("demo", {"spec_file": str(there / "demo.yaml"), "runs": []})
    assert store.plan("demo")["spec_file"] == str(there / "demo.yaml")  # its first file says nothing any more
