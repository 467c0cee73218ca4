"""What pages are told of a store: everything that is there, each as what it is, and no more reading than it takes."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fabric import Fabric
from stores import finish, log, mixed

from mtlab.dashboard import cached_store
from mtlab.dashboard.cached_store import CachedStore, FileCache, FileState
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.errors import UserError


def test_every_run_is_told_as_what_it_is(data: DashboardData) -> None:
    card = data.study("trial")
    assert card.counts == {"done": 10, "running": 1, "interrupted": 1, "new": 1, "failed": 1, "damaged": 2}
    runs = {run.id: run for run in card.runs}
    assert runs["adaptive-2/s1"].condition == "running"
    assert (runs["adaptive-2/s1"].step, runs["adaptive-2/s1"].steps) == (300, 800)
    assert (runs["static-3/s1"].condition, runs["static-3/s1"].step) == ("interrupted", 500)
    assert runs["static-3/s0"].condition == "new"
    assert "lower train.lr" in str(runs["adaptive-3/s1"].problem)
    assert "result.json has changed" in str(runs["bridge-3/s1"].problem)
    assert "half-written" in str(runs["bridge-3/s0"].problem)


def test_studies_that_cannot_be_read_say_so(data: DashboardData) -> None:
    cards = {card.name: card for card in data.studies()}
    assert list(cards) == sorted(cards, key=lambda name: (-(cards[name].changed or 0), name))
    assert "is not JSON" in str(cards["broken"].problem)
    assert "has changed since it was written: `mtlab plan FILE`" in str(cards["odd"].problem)
    assert "is no name for a study" in str(cards["my notes"].problem)
    assert cards["trial"].problem is None


def test_what_belongs_to_no_study_is_listed(data: DashboardData) -> None:
    strays = {stray.name: stray.summary for stray in data.orphans()}
    assert set(strays) == {"stray/s0", "notes/of mine"}
    assert strays["notes/of mine"] is None
    assert strays["stray/s0"] is not None
    assert strays["stray/s0"].condition == "done"
    assert data.studies_of("last-2/s0") == ["trial"]


@pytest.mark.parametrize(
    "run", ["nothing/s0", "last-2", "../../etc/s0", "last-2/../last-2/s0", "/etc/passwd", "", "a/sx"]
)
def test_names_that_are_no_runs_are_refused(data: DashboardData, run: str) -> None:
    with pytest.raises(UserError, match="there is no run"):
        data.run(run)


@pytest.mark.parametrize("name", ["..", "../cells", "tria", ""])
def test_names_that_are_no_studies_are_refused(data: DashboardData, name: str) -> None:
    with pytest.raises(UserError):
        data.study(name)


def test_a_verdict_comes_when_it_is_worked_out(data: DashboardData) -> None:
    card = data.study("trial")
    told = data.verdict(card, wait=60)
    assert told is not None
    assert told.startswith("So far, with 10 of 16 runs finished. On test/accuracy")
    assert data.verdict(card) == told


def test_a_damaged_file_of_outcomes_is_told_with_its_place(tmp_path: Path) -> None:
    fabric = mixed(tmp_path / "runs")
    path = fabric.store.run("last-2/s0") / "examples.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    opened = DashboardData(fabric.store.root)
    try:
        with pytest.raises(UserError, match=r"last-2/s0/examples\.parquet"):
            opened.report(opened.study("trial"))
        assert "examples.parquet" in str(opened.verdict(opened.study("trial"), wait=60))
    finally:
        opened.close()


def test_a_page_waits_for_what_another_thread_reads_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fabric, read = mixed(tmp_path / "runs"), list[str]()

    def compared_files(store: CachedStore, run: str) -> tuple[FileState | None, ...]:
        read.append(run)
        time.sleep(0.05)  # the other thread asks meanwhile
        return real(store, run)

    real = CachedStore.compared_files
    monkeypatch.setattr(CachedStore, "compared_files", compared_files)
    opened = DashboardData(fabric.store.root, max_age=60.0)  # begins to read in the background
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(opened.study, ["trial"] * 4))
        assert all(each is found[0] for each in found)
        assert len(read) == len(set(read)) == 10  # the finished runs
    finally:
        opened.close()


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[tuple[Fabric, DashboardData]]:
    fabric = mixed(tmp_path / "runs")
    opened = DashboardData(fabric.store.root, max_age=0.0)
    yield fabric, opened
    opened.close()


def test_what_changes_is_seen(growing: tuple[Fabric, DashboardData]) -> None:
    fabric, opened = growing
    before = opened.study("trial")
    log(fabric.store.run("adaptive-2/s1"), 400)
    after = opened.study("trial")
    assert [run.step for run in after.runs if run.id == "adaptive-2/s1"] == [400]
    assert after.state != before.state
    (fabric.store.run("adaptive-2/s1") / "lock.json").unlink()
    finish(fabric, "adaptive-2", 1, 3)
    assert opened.study("trial").counts["done"] == 11


def test_damage_of_a_finished_run_is_seen_and_so_is_its_end(growing: tuple[Fabric, DashboardData]) -> None:
    fabric, opened = growing
    path = fabric.store.run("last-2/s0") / "examples.parquet"
    before, whole = opened.report(opened.study("trial")), path.read_bytes()
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match=r"last-2/s0/examples\.parquet"):
        opened.report(opened.study("trial"))
    path.write_bytes(whole)
    assert opened.report(opened.study("trial")).rows == before.rows


def test_nothing_is_read_twice_that_has_not_changed(
    growing: tuple[Fabric, DashboardData], monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric, opened = growing
    opened.verdict(opened.study("trial"), wait=60)  # all that goes on in the background is over, too
    read: list[str] = []
    true = cached_store.files.read_json

    def listing(path: Path, **options: str) -> object:
        read.append(str(path.relative_to(fabric.store.root / "cells")))
        return true(path, **options)

    monkeypatch.setattr(cached_store.files, "read_json", listing)
    opened.study("trial")
    assert read == []
    (fabric.store.run("adaptive-2/s1") / "lock.json").unlink()
    finish(fabric, "adaptive-2", 1, 3)
    opened.study("trial")
    assert {name.rpartition("/")[0] for name in read} == {"adaptive-2/s1"}


def test_metrics_are_read_on_from_where_they_were_left(tmp_path: Path) -> None:
    fabric = mixed(tmp_path / "runs")
    store, path = CachedStore.open(fabric.store.root), fabric.store.run("static-3/s1") / "metrics.jsonl"
    assert [row["step"] for row in store.metrics("static-3/s1")] == [100, 200, 300, 400, 500]
    with path.open("a") as stream:
        stream.write('{"step": 600, "val/accuracy": 0.6}\n{"step": 700, "va')
    assert [row["step"] for row in store.metrics("static-3/s1")][-1] == 600
    with path.open("a") as stream:
        stream.write('l/accuracy": 0.7}\n')
    assert [row["step"] for row in store.metrics("static-3/s1")][-2:] == [600, 700]
    path.with_name("other").write_text('{"step": 100, "val/accuracy": 0.5}\n')
    path.with_name("other").replace(path)  # as a run does that resumes
    assert [row["step"] for row in store.metrics("static-3/s1")] == [100]


def test_what_was_read_is_kept_as_long_as_its_file_stays(tmp_path: Path) -> None:
    cache, path = FileCache(), tmp_path / "file.json"
    read: list[str] = []

    def reader(file: Path) -> str:
        read.append(file.read_text())
        if read[-1] == "bad":
            raise UserError("is bad", file=file)
        return read[-1]

    path.write_text("one")
    assert [cache.read(path, reader), cache.read(path, reader)] == ["one", "one"]
    path.write_text("bad")
    frames = []
    for _ in range(5):
        with pytest.raises(UserError, match="is bad") as caught:
            cache.read(path, reader)
        frames.append(len(caught.traceback))
    assert read == ["one", "bad"]
    assert max(frames[1:]) == min(frames[1:])  # what is raised again and again holds no more and more frames
    path.unlink()
    with pytest.raises(FileNotFoundError):
        cache.read(path, reader)


def test_json_that_is_none_of_ours_counts_as_missing(tmp_path: Path) -> None:
    fabric = mixed(tmp_path / "runs")
    store, folder = CachedStore.open(fabric.store.root), fabric.store.run("last-2/s0")
    for name, text, problem in (
        ("result.json", json.dumps({"steps": 1, "metrics": {"a": "b"}, "cost": {}}), "result.json has changed"),
        ("config.json", json.dumps({"cell": "other", "seed": 0, "config": {}}), "config.json has changed"),
        ("state.json", "[1]", "state.json has changed"),
    ):
        (folder / name).write_text(text)
        assert problem in str(store.damage("last-2/s0"))
    assert (store.result("last-2/s0"), store.config("last-2/s0"), store.run_state("last-2/s0")) == (None, None, None)
