"""`mtlab bundle`: a study in one file, which others open elsewhere, and which cannot write anywhere else."""

from __future__ import annotations

import errno
import json
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from calling import mtlab
from fabric import Fabric
from tiny_study import write_study
from torch import nn

import mtlab as api
from mtlab.errors import UserError
from mtlab.files import DiskError, ReadOnlyError
from mtlab.inference.loading import restore
from mtlab.report import archive as packing
from mtlab.report.archive import _without_folders
from mtlab.runs import archive, manifest
from mtlab.runs.find_run import FinishedRun, find_run
from mtlab.runs.results import write_result
from mtlab.runs.store import Store

STUDY = """
why: Does it travel?
set:
  text: {name: planted, depth: 3, planted: 2}
  vision: {name: planted, depth: 3, planted: 2}
  data: {name: planted, train: 60, val: 20, test: 20}
  model: {width: 16, heads: 2, cross_layers: 1, mlp_ratio: 1}
  train: {batch: 20, length: {steps: 4}, eval_every: 2}
  record: {interventions: true}
axes: {manager: [bridge, static]}
baseline: {manager: bridge}
seeds: 2
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a study that has run, in a folder of its own; the store beside it."""
    folder = tmp_path_factory.mktemp("packed")
    file = folder / "travels.yaml"
    file.write_text(f"kind: ablation\nname: travels\n{STUDY}")
    ran = mtlab("run", file, "--store", folder / "runs", "--quiet", MTLAB_CACHE=str(folder / "cache"))
    assert ran.returncode == 0, ran.stderr
    for command in ("eval", "intervene"):
        measured = mtlab(command, "travels:bridge:0", "--store", folder / "runs", MTLAB_CACHE=str(folder / "cache"))
        assert measured.returncode == 0, measured.stderr
    done = mtlab("bundle", file, "--store", folder / "runs", "--out", folder / "travels.zip")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs; " in done.stdout
    return folder / "travels.zip"


@pytest.mark.slow
def test_the_report_elsewhere_is_the_report_here(packed: Path, tmp_path: Path) -> None:
    here = mtlab("report", "travels", "--store", packed.parent / "runs", "--format", "md")
    there = mtlab("report", packed, "--format", "md", cwd=tmp_path)
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    told = mtlab("report", packed, cwd=tmp_path)
    assert f"read from {packed}, packed by mtlab" in told.stdout
    assert f"mtlab dashboard --store {packed}" in told.stdout.replace("\n", "")
    page = mtlab("report", packed, "--format", "html", cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["travels.html"]  # nothing else is written
    frames = [api.frame(store, study="travels") for store in (packed.parent / "runs", packed)]
    columns = ["run", "label", "seed", "state", "test/accuracy", "cost/trained_params"]
    assert frames[0].select(columns).equals(frames[1].select(columns))
    worth = [
        api.layers(store, study="travels").select(pl.col("worth").sum()).item()
        for store in (packed.parent / "runs", packed)
    ]
    assert worth[0] == worth[1]


@pytest.mark.slow
def test_what_is_in_it_is_whole_small_and_says_nothing_of_the_machine(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as opened:
        assert opened.testzip() is None
        held = {name: opened.read(name) for name in opened.namelist()}
    assert {"README.md", "report.html", "report.md", "report.json", "environment.txt", "mtlab.json"} <= held.keys()
    assert not [name for name in held if "checkpoints" in name or name.endswith(("log.txt", "launch.jsonl"))]
    assert any(line.startswith(b"torch==") for line in held["environment.txt"].splitlines())
    for name, content in held.items():
        assert str(packed.parent).encode() not in content, name
    host = json.loads(next((packed.parent / "runs").rglob("state.json")).read_text())["host"]
    assert {json.loads(content)["host"] for name, content in held.items() if name.endswith("state.json")} == {""}
    assert f'"{host}"'.encode() not in held["report.html"]
    archive.unpack(packed, tmp_path / "store")
    copy = Store.open(tmp_path / "store")
    assert [copy.damage(run["id"]) for run in copy.plan("travels")["runs"]] == [None] * 4
    again = packed.with_name("again.zip")
    assert mtlab("bundle", "travels", "--store", packed.parent / "runs", "--out", again).returncode == 0
    with zipfile.ZipFile(again) as second:
        assert {name: second.read(name) for name in held} == held  # the same study gives the same archive


def test_folders_of_this_machine_are_left_out() -> None:
    config = {
        "data": {"name": "questions", "folder": "/home/me/photos", "shares": [0.1, 0.1]},
        "all": ["/a b/c", "d/e"],
    }
    left = {"data": {"name": "questions", "folder": "photos", "shares": [0.1, 0.1]}, "all": ["c", "d/e"]}
    assert _without_folders(config) == left


def test_what_rows_differ_in_names_no_folder_of_this_machine(fabric: Fabric, tmp_path: Path) -> None:
    run = fabric.finish("bridge", 0, 0.7)
    manifest.write(run, (run / "result.json").read_text(encoding="utf-8"))
    plan = fabric.plan(["bridge"], seeds=1)
    plan["rows"][0]["differences"] = {"data.folder": "/home/me/secret/photos"}
    fabric.store.write_plan("trial", plan)
    packing.write_archive(fabric.store, plan, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as opened:
        assert not [name for name in opened.namelist() if b"/home/me/secret" in opened.read(name)]


@pytest.mark.slow
def test_checkpoints_come_only_if_they_are_asked_for(packed: Path) -> None:
    whole = packed.with_name("whole.zip")
    done = mtlab("bundle", "travels", "--store", packed.parent / "runs", "--checkpoints", "--out", whole)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(whole) as opened:
        assert sum(name.endswith("checkpoints/best.safetensors") for name in opened.namelist()) == 4


@pytest.mark.slow
def test_what_is_measured_of_it_is_shown_and_written_only_where_it_is_asked_for(packed: Path, tmp_path: Path) -> None:
    whole = tmp_path / "all.zip"
    store = ("--store", whole)
    done = mtlab("bundle", "travels", "--store", packed.parent / "runs", "--checkpoints", "--out", whole)
    assert done.returncode == 0, done.stderr
    for command in ("eval", "intervene"):
        told = mtlab(command, "travels:static:0", *store, cwd=tmp_path)
        assert (told.returncode, "written to" in told.stdout) == (0, False), told.stderr
        assert told.stderr.splitlines()[-1].startswith("note: not written")
        assert str(whole) in told.stderr
    told = mtlab("eval", "travels:static:0", *store, "--out", tmp_path / "outcomes.csv")
    assert f"written to {tmp_path / 'outcomes.csv'}" in told.stdout
    known = mtlab("intervene", "travels:bridge:0", "--store", packed)
    assert known.stdout.replace("\n", "").endswith(f"read from {packed}"), known.stderr
    told = mtlab("open", "travels", *store)
    assert (told.returncode, told.stderr) == (
        2, f"error: {whole}: is an archive: unzip it, and --store names its folder `store`\n"
    )  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The smallest archive."""
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as opened:
        opened.writestr("mtlab.json", json.dumps({"format": 1, "study": "x"}))
        opened.writestr("store/store.json", json.dumps({"format": 1}))
        opened.writestr("store/studies/x/plan.json", json.dumps({"study": "x"}))
    return tmp_path / "small.zip"


def test_the_smallest_archive_is_a_store(small: Path) -> None:
    opened = Store.open(small)
    assert (opened.archive, opened.study_names()) == (small, ["x"])
    assert opened.root != small.parent


def test_there_is_nothing_to_clean_in_an_archive(small: Path) -> None:
    done = mtlab("clean", "--yes", "--only", "store", "--store", small)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {small}: is an archive, to be read alone\n"


def test_an_archive_without_checkpoints_says_so(small: Path) -> None:
    store = Store.open(small)
    run = store.root / "cells" / "a" / "s0"
    found = FinishedRun(run, run / "checkpoints" / "best.safetensors", {}, store)
    with pytest.raises(
        UserError, match=rf"{small}: holds no checkpoint of this run: `mtlab bundle STUDY --checkpoints`"
    ):
        restore(nn.Linear(1, 1), found)  # type: ignore[arg-type]


def test_an_archive_that_is_written_anew_is_read_anew(small: Path) -> None:
    def add(opened: zipfile.ZipFile) -> None:
        opened.writestr("store/cells/x-1/s0/result.json", "{}")

    path = small.with_name("again.zip")
    shutil.copy(small, path)
    before = archive.unpacked(path)
    assert archive.unpacked(path) == before
    rewritten(small, path, add)
    after = archive.unpacked(path)
    assert after != before
    assert (after / "cells/x-1/s0/result.json").read_text() == "{}"


def test_a_run_in_an_archive_knows_its_store(small: Path) -> None:
    def add(opened: zipfile.ZipFile) -> None:
        config = {"cell": "x-1", "seed": 0, "label": "x", "config": {}}
        opened.writestr("store/cells/x-1/s0/config.json", json.dumps(config))
        opened.writestr("store/cells/x-1/s0/result.json", "{}")

    found = find_run("x-1/s0", rewritten(small, small.with_name("one.zip"), add))
    assert found.store is not None
    assert found.store.archive == small.with_name("one.zip")
    with pytest.raises(ReadOnlyError, match="is an archive, to be read alone"):
        found.store.check_writable()


def rewritten(packed: Path, target: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    """Copy an archive, and add to it."""
    target.write_bytes(packed.read_bytes())
    with zipfile.ZipFile(target, "a") as opened:
        change(opened)
    return target


def link(opened: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("store/cells/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    opened.writestr(member, "/etc/passwd")


HOSTILE: dict[str, Callable[[zipfile.ZipFile], None]] = {
    "above": lambda opened: opened.writestr("store/../../evil", "x"),
    "absolute": lambda opened: opened.writestr("/tmp/evil", "x"),
    "drive": lambda opened: opened.writestr("store/C:/evil", "x"),
    "backslash": lambda opened: opened.writestr("store/..\\evil", "x"),
    "hidden": lambda opened: opened.writestr("store/.ssh/evil", "x"),
    "link": link,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(kind: str, small: Path, tmp_path: Path) -> None:
    path = rewritten(small, tmp_path / "hostile.zip", HOSTILE[kind])
    (tmp_path / "into").mkdir()
    with pytest.raises(UserError, match="it was not written by `mtlab bundle`"):
        archive.unpack(path, tmp_path / "into" / "store")
    assert list((tmp_path / "into").iterdir()) == []
    told = mtlab("report", path)
    assert (told.returncode, len(told.stderr.strip().splitlines())) == (2, 1)


def test_a_file_that_is_there_twice_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = rewritten(small, tmp_path / "twice.zip", lambda opened: opened.writestr("store/store.json", "{}"))
    with pytest.raises(UserError, match="holds a file twice"):
        archive.unpack(path, tmp_path / "store")


def test_what_is_no_archive_is_told_in_a_line(small: Path, tmp_path: Path) -> None:
    broken, other, newer = (tmp_path / f"{name}.zip" for name in ("broken", "other", "newer"))
    broken.write_bytes(small.read_bytes()[:100])
    with zipfile.ZipFile(other, "w") as opened:
        opened.writestr("paper.txt", "no study")
    with zipfile.ZipFile(newer, "w") as opened:
        opened.writestr("mtlab.json", json.dumps({"format": 9, "study": "x"}))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as opened:
        opened.writestr("mtlab.json", json.dumps({"format": 1, "study": "x"}))
    for path, words in (
        (broken, "broken.zip: is damaged, or no zip file"),
        (other, "other.zip: is no archive of a study (no mtlab.json): `mtlab bundle STUDY` writes one"),
        (newer, "newer.zip: has format 9, this mtlab knows format 1: update mtlab"),
        (tmp_path / "missing.zip", "missing.zip: no such file"),
        (tmp_path / "empty.zip", "empty.zip: holds no store/studies/x/plan.json: it is not as `mtlab bundle` wrote it"),
        (small, f"error: {small}/store/studies/x/plan.json: "),
    ):
        told = mtlab("report", path)
        assert told.returncode == 2
        assert words in told.stderr


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_each_flipped_bit_is_harmless_or_told(tmp_path: Path) -> None:
    whole, damaged, into = tmp_path / "whole.zip", tmp_path / "damaged.zip", tmp_path / "store"
    numbers = [number * 0.37 % 1 for number in range(40)]
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("mtlab.json", json.dumps({"format": 1, "study": "x", "numbers": numbers}))
        opened.writestr("store/store.json", json.dumps({"format": 1, "numbers": numbers}))
    content, told = whole.read_bytes(), 0
    for place in range(len(content)):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :])
        try:
            archive.unpack(damaged, into)
        except UserError:
            told += 1
        shutil.rmtree(into, ignore_errors=True)
    assert told > len(content) / 2


def test_what_an_archive_says_of_itself_may_not_be_nested_without_end_nor_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "deep.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("mtlab.json", "[" * 200_000)
    with pytest.raises(UserError, match="is damaged, or no zip file"):
        archive.read_about(path)
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("mtlab.json", "{}")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # in the member's own header, and in the list of members
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is encrypted"):
        archive.read_about(path)


def test_a_full_disk_of_the_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store, scratch = Store.open(tmp_path / "runs", create=True), tmp_path / "scratch"
    scratch.mkdir()
    write_result(store.create_run("aaa/s0", {}), {})
    monkeypatch.setattr(packing, "_copy_run", full)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with pytest.raises(DiskError, match="the disk is full") as told:
        packing.write_archive(store, {"study": "one", "runs": [{"id": "aaa/s0"}]}, tmp_path / "one.zip")
    assert told.value.file is not None
    assert scratch in Path(told.value.file).parents


@pytest.mark.slow
def test_mistakes(packed: Path, tmp_path: Path) -> None:
    store = packed.parent / "runs"
    for arguments, words in (
        (
            ("bundle", "travels", "--store", store, "--out", packed),
            "exists already: choose another --out, or remove it",
        ),
        (("bundle", "travels", "--store", store, "--out", tmp_path / "a.tar"), "--out: is to end in .zip"),
        (("report", packed, "travels"), "an archive is reported on alone"),
        (("run", packed.parent / "travels.yaml", "--store", packed), "is an archive, to be read alone"),
        (("track", "sync", "travels", "--store", packed), "is an archive: trackers are sent what is in a store"),
    ):
        told = mtlab(*arguments)
        assert told.returncode == 2
        assert words in told.stderr.splitlines()[-1]
    planned = write_study(tmp_path, "axes: {manager: [bridge]}")
    assert mtlab("plan", planned, "--store", tmp_path / "runs").returncode == 0
    told = mtlab("bundle", planned, "--store", tmp_path / "runs", "--out", tmp_path / "x.zip")
    assert "is finished yet" in told.stderr
    assert not (tmp_path / "x.zip").exists()
