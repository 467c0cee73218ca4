"""`mtlab logs`, `open`, `diff`, and `status --watch`, on runs in every state."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from calling import Told, here
from tiny_study import write_study

from mtlab.cli.runs import logs
from mtlab.cli.study import status
from mtlab.processes import current_process
from mtlab.runs import lock
from mtlab.runs.find_run import find_run
from mtlab.runs.lock import RunLock, lock_path, lock_state
from mtlab.runs.store import Store
from mtlab.studies.plan import make_plan, run_configs, to_json
from mtlab.studies.spec import read_study


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A study of which the runs of seed 0 have begun."""
    file = write_study(tmp_path, "axes: {manager: [bridge, static]}\nseeds: 2")
    opened = Store.open(tmp_path / "runs", create=True)
    plan = make_plan(read_study(file))
    opened.write_plan("study", to_json(plan))
    for run, config in run_configs(plan).items():
        if config["seed"] == 0:
            (opened.create_run(run, config) / "log.txt").write_text("one\ntwo\nthree\n")
    monkeypatch.setenv("MTLAB_STORE", str(opened.root))
    return opened


@pytest.fixture
def told(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    return here(monkeypatch, capsys)


def folder(store: Store, label: str) -> Path:
    return next(store.run(run["id"]) for run in store.plan("study")["runs"] if run["label"] == label)


def test_of_two_rows_that_are_one_cell_each_name_finds_its_runs(store: Store, told: Told) -> None:
    plan = store.plan("study")
    row = next(row for row in plan["rows"] if row["label"] == "bridge")
    store.write_plan("study", plan | {"rows": [*plan["rows"], row | {"label": "bridge · equal FLOPs"}]})
    code, out, _ = told("open", "study:bridge · equal FLOPs:0", "--json")
    assert code == 0
    assert json.loads(out)["folder"] == str(folder(store, "bridge"))
    assert "study:bridge · equal FLOPs:1" in told("logs", "study:bridge · equal FLOPs")[2]


def test_a_run_copied_to_a_folder_near_the_root_is_in_no_store(store: Store) -> None:
    run = folder(store, "bridge")
    (run / "result.json").write_text("{}")
    with tempfile.TemporaryDirectory(dir="/tmp") as near:
        shutil.copytree(run, near, dirs_exist_ok=True)
        copied, found = find_run(near, store.root), find_run("study:bridge:0", store.root)
    assert (copied.store, copied.id) == (None, found.id)
    assert found.store == store


def test_logs_are_printed_and_followed_while_the_run_is_held(
    store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told("logs", "study:bridge:0") == (0, "one\ntwo\nthree\n", "")
    assert told("logs", "study:bridge:0", "-n", 2) == (0, "two\nthree\n", "")
    assert told("logs", "study:bridge:0", "--follow")[1] == "one\ntwo\nthree\n"  # nobody works on it
    run = folder(store, "bridge")
    held, parts = RunLock(run), [b"f\xc3", b"\xbcnf\n"]  # a letter in two pieces

    def sleep(_: float) -> None:
        if not parts:
            held.__exit__()
            return
        with (run / "log.txt").open("ab") as log:
            log.write(parts.pop(0))

    held.__enter__()
    monkeypatch.setattr(logs.time, "sleep", sleep)
    assert told("logs", "study:bridge:0", "-f", "-n", 1)[1] == "three\nfünf\n"


def test_the_log_of_a_run_whose_worker_has_not_begun_is_followed(
    store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher makes the log; the worker holds the run once it has imported torch, or its job is started."""
    log = folder(store, "bridge") / "log.txt"
    log.write_text("")
    monkeypatch.setattr(logs.time, "sleep", lambda _: log.write_text("begun\n"))
    code, out, err = told("logs", "study:bridge:0", "-f")
    assert (code, out) == (0, "begun\n")
    assert "no worker has begun this run: waiting for one" in err


def test_a_log_is_followed_no_longer_than_a_holder_on_another_host_shows_life(
    store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clock = folder(store, "bridge"), [0.0]
    gone = current_process().to_json() | {"host": "elsewhere"}
    lock_path(run).write_text(json.dumps(gone))
    assert lock_state(run) == "unsure"
    monkeypatch.setattr(lock.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(logs.time, "sleep", lambda _: clock.append(clock.pop() + 1))
    assert told("logs", "study:bridge:0", "-f") == (0, "one\ntwo\nthree\n", "")
    assert clock[0] == lock.PATIENCE


def test_open_shows_where_things_are(store: Store, told: Told) -> None:
    (store.study("study") / "looks").mkdir()
    code, out, _ = told("open", "study")
    assert code == 0
    assert "of seeds until decided: what each look found" in out
    assert out.splitlines()[0] == str(store.study("study"))
    assert f"study:static:0  {folder(store, 'static')}" in out
    assert "study:static:1" not in out  # has not begun
    shown = json.loads(told("open", "study:static:0", "--json")[1])
    assert shown["folder"] == str(folder(store, "static"))
    assert set(shown["files"]) == {"config.json", "log.txt"}


def test_diff_shows_the_settings_that_differ(told: Told) -> None:
    found = json.loads(told("diff", "study:bridge", "study:static", "--json")[1])
    assert found["manager.name"] == {"a": "bridge", "b": "static"}
    assert found["manager.experts"]["b"] == "—"  # an option of bridge alone
    assert {key.partition(".")[0] for key in found} == {"manager"}
    assert "manager.name" in told("diff", "study:bridge", "study:static")[1]
    assert told("diff", "study:bridge", "study:bridge:0")[1] == "no setting differs\n"


def test_diff_tells_what_else_makes_ids_differ(store: Store, told: Told) -> None:
    config = json.loads((folder(store, "bridge") / "config.json").read_text())
    version = config["identity"]["versions"]["manager:bridge"]
    config["identity"]["versions"]["manager:bridge"] = version + 1
    store.create_run("another/s0", config)
    found = json.loads(told("diff", "study:bridge:0", "another/s0", "--json")[1])
    assert found == {"versions.manager:bridge": {"a": str(version), "b": str(version + 1)}}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("logs", "study:bridge"), "could be 2 runs: name one, such as study:bridge:0, study:bridge:1"),
        (("logs", "study:bridge:1"), "there is no log yet"),
        (("logs", "study:brigde:0"), "no variant 'brigde'; did you mean 'bridge'?"),
        (("open", "study:bridge:1"), "has not begun"),
        (("open", "stuyd"), "no run 'stuyd'"),
        (("diff", "study", "study:bridge"), "'study' could be 4 runs"),
        (("diff", "study:bridge:1", "study:bridge"), "has not begun: `mtlab plan FILE` shows"),
        (("status", "--watch", "--json"), "--watch and --json contradict each other"),
    ],
)
def test_wrong_input_is_one_line(words: tuple[str, ...], expected: str, told: Told) -> None:
    code, out, err = told(*words)
    assert (code, out) == (2, "")
    assert expected in err
    assert len(err.strip().splitlines()) == 1


def test_diff_refuses_a_folder_that_is_no_runs(tmp_path: Path, told: Told) -> None:
    (tmp_path / "imported").mkdir()
    (tmp_path / "imported" / "config.json").write_text('{"text": {}}')
    code, out, err = told("diff", tmp_path / "imported", "study:bridge:0")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is not the configuration of a run" in err


def test_open_names_what_was_computed_in_the_store_of_the_run(store: Store, tmp_path: Path, told: Told) -> None:
    run = folder(store, "bridge")
    other = tmp_path / "other"
    shutil.copytree(store.root, other)
    for root in (store.root, other):
        (root / "derived" / run.parent.name / run.name).mkdir(parents=True, exist_ok=True)
    files = json.loads(told("open", other / run.relative_to(store.root), "--json")[1])["files"]
    assert files["derived"] == str(other / "derived" / run.parent.name / run.name)


def test_status_is_watched_until_all_runs_have_ended(store: Store, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        for run in store.plan("study")["runs"]:
            store.run(run["id"]).mkdir(parents=True, exist_ok=True)
            (store.run(run["id"]) / "failure.json").write_text("{}")

    monkeypatch.setattr(status.time, "sleep", sleep)
    code, out, _ = told("status", "study", "--watch")
    assert code == 0
    assert waited == [status.INTERVAL]
    assert "failed" in out


def test_status_is_watched_while_a_launcher_may_ask_for_more_seeds(
    store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks of a study with seeds until decided, all runs that it has asked for are done."""
    for run in store.plan("study")["runs"]:
        store.run(run["id"]).mkdir(parents=True, exist_ok=True)
        (store.run(run["id"]) / "failure.json").write_text("{}")
    who = {"host": "here", "launcher": 1}
    store.log_launch("study", {**who, "event": "launch", "process": current_process().to_json()})
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        store.log_launch("study", {**who, "event": "end"})

    monkeypatch.setattr(status.time, "sleep", sleep)
    assert told("status", "study", "--watch")[0] == 0
    assert waited == [status.INTERVAL]


def test_status_is_not_watched_once_a_study_was_stopped(
    store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = {"host": "here", "launcher": 1}
    store.log_launch("study", {**who, "event": "launch", "process": current_process().to_json()})
    monkeypatch.setattr(status.time, "sleep", lambda _: store.log_launch("study", {**who, "event": "end"}))
    code, out, _ = told("status", "study", "--watch")
    assert code == 0
    assert "new" in out


@pytest.mark.slow
def test_a_quiet_run_prints_nothing(tmp_path: Path, told: Told) -> None:
    study = write_study(tmp_path, "axes: {manager: [last]}\nset: {train: {length: {steps: 1}, eval_every: 1}}", "small")
    assert told("run", study, "study.seeds=1", "--quiet") == (0, "", "")
    assert "1 done" in told("status")[1]
