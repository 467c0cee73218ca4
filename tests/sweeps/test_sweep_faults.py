"""Launchers and workers that die, on a journal and on PostgreSQL: no trial is lost, doubled, or left running."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import postgres_server
import psycopg
import pytest
from imagined import SWEEP, Launcher, Opened, write_hunt, write_sweep
from optuna.study import StudyDirection
from patience import wait_for

from mtlab import files
from mtlab.errors import UserError
from mtlab.sweeps.status import PROBLEM
from mtlab.sweeps.storage.base import open_storage

TRIALS = 4
STORAGES = ["journal", "postgres"]


@pytest.fixture(params=STORAGES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A sweep on each kind of storage, under a name of its own."""
    storage = "journal" if request.param == "journal" else request.getfixturevalue("database")
    return write_hunt(tmp_path, storage, TRIALS, f"hunt{time.monotonic_ns()}")


def finished(launcher: Launcher, code: int = 0) -> str:
    ended = launcher.wait()
    output = "".join(launcher.lines)
    assert ended == code, output
    return output


def told(path: Path, root: Path, variant: int) -> list[Any]:
    return Opened(path, root).trials(variant)


def check_whole(path: Path, root: Path, trials: int = TRIALS) -> None:
    """Each variant has its trials, each once and ended, each with the runs that it needs and no worker at work."""
    opened = Opened(path, root)
    for search in opened.searches:
        found = search.study.get_trials(deepcopy=False)
        assert [each.number for each in found] == list(range(trials))
        assert {each.state.name for each in found} <= {"COMPLETE", "PRUNED"}
        points = Counter(tuple(sorted(each.params.items())) for each in found)
        assert max(points.values()) == 1, "two launchers drew the same"
        for each in found:
            run = root / "cells" / each.user_attrs["cell"]
            if each.state.name == "COMPLETE":
                assert all((run / seed / "result.json").exists() for seed in ("s0", "s1"))
    asked = {run["id"] for run in opened.store.plan(opened.prepared.sweep.name)["runs"]}
    there = {f"{run.parent.name}/{run.name}" for run in (root / "cells").glob("*/s*")}
    assert there <= asked, "a run of which no plan knows could be cleaned away"
    assert not list((root / "studies").glob("*/launchers/*"))


@pytest.mark.slow
def test_a_killed_launcher_is_followed_by_one_that_goes_on_as_if_nothing_had_happened(
    path: Path, tmp_path: Path
) -> None:
    finished(Launcher(path, tmp_path / "whole"))
    if "postgresql" in path.read_text():  # a database has one search of a name
        other = path.with_name("again.yaml")
        other.write_text(path.read_text().replace(path.stem, f"{path.stem}again"))
    else:
        other = path
    for moment in (1, 3):
        process = Launcher(other, tmp_path / "parts", pause=0.05)
        wait_for(lambda: process.said("begun") >= moment)  # noqa: B023
        process.process.kill()
        process.wait()
    locks = list((tmp_path / "parts/cells").glob("*/s*/lock.json"))
    finished(Launcher(other, tmp_path / "parts"))
    for variant in (0, 1):
        assert told(other, tmp_path / "parts", variant) == told(path, tmp_path / "whole", variant)
    check_whole(other, tmp_path / "parts")
    assert not any(lock.exists() for lock in locks)


@pytest.mark.slow
def test_four_launchers_share_a_sweep_and_two_of_them_die(path: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    launchers = [Launcher(path, root, 1, pause=0.1) for _ in range(4)]
    wait_for(lambda: sum(bool(each.said("begun")) for each in launchers) >= 2)
    doomed = [each for each in launchers if each.said("begun")][:2]
    for each in doomed:
        each.process.kill()
        each.wait()
    for each in launchers:
        if each not in doomed:
            finished(each)
    check_whole(path, root)


@pytest.mark.slow
def test_workers_that_are_killed_are_retried_from_their_checkpoints(path: Path, tmp_path: Path) -> None:
    finished(Launcher(path, tmp_path / "runs", 2, **{"die at": 4}))
    check_whole(path, tmp_path / "runs")
    states = [files.read_json(state) for state in (tmp_path / "runs/cells").glob("*/s0/state.json")]
    assert 2 in {state["attempt"] for state in states}


@pytest.mark.slow
def test_an_interrupted_launcher_leaves_no_trial_running(path: Path, tmp_path: Path) -> None:
    process = Launcher(path, tmp_path / "runs", 2, pause=0.1)
    wait_for(lambda: process.said("begun") >= 2)
    process.process.send_signal(signal.SIGINT)
    finished(process, 130)
    states = [state for variant in (0, 1) for _, state, *_ in told(path, tmp_path / "runs", variant)]
    assert states
    assert "RUNNING" not in states
    finished(Launcher(path, tmp_path / "runs", 2))
    check_whole(path, tmp_path / "runs")


@pytest.mark.slow
def test_machines_with_stores_of_their_own_share_a_database(database: str, tmp_path: Path) -> None:
    path = write_hunt(tmp_path, database, TRIALS, f"hunt{time.monotonic_ns()}")
    first = Launcher(path, tmp_path / "one", pause=0.05)
    second = Launcher(path, tmp_path / "two", pause=0.05)
    wait_for(lambda: bool(first.said("begun") and second.said("begun")))
    first.process.kill()
    first.wait()
    finished(second)
    opened = Opened(path, tmp_path / "two")
    for search in opened.searches:
        found = search.study.get_trials(deepcopy=False)
        assert [each.number for each in found] == list(range(TRIALS))
        assert {each.state.name for each in found} <= {"COMPLETE", "PRUNED"}
        for each in found:
            cells = [tmp_path / store / "cells" / each.user_attrs["cell"] for store in ("one", "two")]
            ended = [cell for cell in cells if (cell / "s0" / "result.json").exists()]
            assert ended or each.state.name == "PRUNED"


@pytest.mark.slow
def test_a_lost_database_is_told_and_the_sweep_goes_on_once_it_is_back(tmp_path: Path) -> None:
    if postgres_server.programs() is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres_server.running() as made:
        path = write_hunt(tmp_path, made.url, 3)
        launcher = Launcher(path, tmp_path / "runs", pause=0.1)
        wait_for(lambda: launcher.said("begun") >= 2)
        made.stop()
        assert launcher.wait() != 0
        assert "the same command goes on once it is back" in "".join(launcher.lines)
        assert "Traceback" not in launcher.lines[-1]
        made.start()
        finished(Launcher(path, tmp_path / "runs"))
        check_whole(path, tmp_path / "runs", 3)


def test_what_was_written_together_survives_a_server_that_dies_the_next_moment(tmp_path: Path) -> None:
    if postgres_server.programs() is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres_server.running() as made:
        with psycopg.connect(made.url, autocommit=True) as connection:  # whatever the server is used to
            connection.execute("ALTER ROLE postgres SET synchronous_commit = off")
        storage = open_storage(made.url, "hunt", tmp_path)
        study = storage.optuna_storage.create_new_study([StudyDirection.MAXIMIZE], "hunt")
        with storage.batch():
            for number in range(5):
                storage.optuna_storage.set_study_user_attr(study, f"told {number}", number)
        made.stop()
        made.start()
        again = open_storage(made.url, "hunt", tmp_path)
        found = again.optuna_storage.get_study_user_attrs(again.optuna_storage.get_study_id_from_name("hunt"))
        assert found == {f"told {number}": number for number in range(5)}
        again.close()
        storage.close()


@pytest.mark.slow
def test_a_launcher_that_stands_still_is_not_robbed(tmp_path: Path) -> None:
    path = write_hunt(tmp_path, "journal", 3)
    still = Launcher(path, tmp_path / "runs", pause=0.05)
    wait_for(lambda: list((tmp_path / "runs/cells").glob("*/s0/metrics.jsonl")) != [])
    os.killpg(still.process.pid, signal.SIGSTOP)  # while it waits for its worker
    other = Launcher(path, tmp_path / "runs")
    wait_for(lambda: _ended(path, tmp_path / "runs") >= 5)  # all but the one that is held
    os.killpg(still.process.pid, signal.SIGCONT)
    finished(still)
    finished(other)
    check_whole(path, tmp_path / "runs", 3)


def _ended(path: Path, root: Path) -> int:
    states = [state for variant in (0, 1) for _, state, *_ in told(path, root, variant)]
    return sum(state in ("COMPLETE", "PRUNED") for state in states)


def test_an_account_without_rights_is_told_in_one_line(tmp_path: Path) -> None:
    if postgres_server.programs() is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres_server.running() as made:
        with psycopg.connect(made.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE guest LOGIN")
        theirs = made.url.replace("postgres@", "guest@")
        with pytest.raises(UserError, match="cannot keep a sweep: permission denied for schema public") as empty:
            open_storage(theirs, "hunt", tmp_path)
        open_storage(made.url, "hunt", tmp_path).close()
        with pytest.raises(UserError, match="cannot keep a sweep: permission denied for table") as made_by_another:
            open_storage(theirs, "hunt", tmp_path)
    assert all(str(each.value).count("\n") == 0 for each in (empty, made_by_another))


def test_launchers_are_known_on_nfs_which_locks_what_is_open_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        original(descriptor, operation)

    original = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    storage = open_storage("journal", "hunt", tmp_path)
    with storage.register_launcher("alive"):
        assert not storage.launcher_is_gone("alive")
        (tmp_path / "launchers" / "killed").touch()
        assert storage.launcher_is_gone("killed")
    storage.close()


def test_a_journal_survives_half_a_line(tmp_path: Path) -> None:
    path = write_hunt(tmp_path, "journal", 2)
    Opened(path, tmp_path / "runs").search(1)
    journal = tmp_path / "runs/studies/hunt/journal.jsonl"
    with journal.open("ab") as stream:
        stream.write(b'{"op_code":5,"worker_id":"x","tri')
    opened = Opened(path, tmp_path / "runs")
    opened.search()
    assert [len(opened.trials(variant)) for variant in (0, 1)] == [2, 2]
    check_whole(path, tmp_path / "runs", 2)


def test_a_trial_whose_parent_fails_says_why(tmp_path: Path) -> None:
    text = "init_from: {study: first}\nspace: {train.power: {float: [0.5, 2.0]}}\nbudget: {trials: 2}"
    first = SWEEP.format(name="first").replace("kind: sweep", "kind: ablation\nseeds: 1")
    (tmp_path / "first.yaml").write_text(first.replace("batch: 8,", "batch: 8, lr: 0.5,"))
    opened = Opened(write_sweep(tmp_path, text), tmp_path / "runs")
    opened.search(**{"nan above": 0.1})
    problems = {event.text for event in opened.events if event.state == "failed"}
    assert problems == {"nan: the loss is nan"}
    trials = opened.searches[0].study.get_trials(deepcopy=False)
    said = [trial.user_attrs[PROBLEM]["problem"] for trial in trials if PROBLEM in trial.user_attrs]
    assert said
    assert all(each.endswith(" seed 0, which it starts from: the loss is nan") for each in said), said


@pytest.mark.parametrize("kind", ["bug", "disk"])
def test_failures_of_the_settings_count_and_others_are_tried_again(kind: str, tmp_path: Path) -> None:
    path = write_hunt(tmp_path, "journal", 4)
    opened = Opened(path, tmp_path / "runs", ["study.pruner=none"])
    opened.search(**{"nan above": 5e-3})
    nan = [each for each in opened.searches[0].study.trials if each.state.name == "FAIL"]
    assert {each.user_attrs["problem"]["kind"] for each in nan} == {"nan"}
    assert all(each.params["train.lr"] > 5e-3 for each in nan)
    settings = ["study.pruner=none", "study.budget.trials=5"]
    more = Opened(path, tmp_path / "runs", settings)
    assert len(more.trials()) == 4
    more.search(2, **{"bug at": 3, "kind": kind})
    (failed,) = more.searches[0].status().to_retry
    again = Opened(path, tmp_path / "runs", settings)
    again.search()
    standing, trials = again.searches[0].status(), again.searches[0].study.trials
    assert (standing.states[failed], standing.started, standing.complete) == ("tried again", 5, True)
    assert [each.params for each in trials if "again" in each.user_attrs] == [trials[failed].params]


@pytest.mark.slow
def test_a_bug_in_two_trials_stops_the_sweep(tmp_path: Path) -> None:
    path = write_hunt(tmp_path, "journal", 4)
    output = finished(Launcher(path, tmp_path / "runs", 1, **{"same bug at": 3}), 1)
    assert output.count("failed") == 2
    states = [state for variant in (0, 1) for _, state, *_ in told(path, tmp_path / "runs", variant)]
    assert states == ["FAIL", "FAIL"]
    finished(Launcher(path, tmp_path / "runs", 1))
    words = [search.status().counts for search in Opened(path, tmp_path / "runs").searches]
    assert all(each["tried again"] == 1 and sum(each.values()) == 5 for each in words)


def test_a_launcher_that_was_taken_for_dead_neither_ends_nor_releases_a_trial_of_another(
    path: Path, tmp_path: Path
) -> None:
    """As after a break of its connection: the model's transitions `look whose` and `release`."""
    opened = Opened(path, tmp_path / "runs")
    search = opened.searches[0]

    def propose(owner: str) -> Any:
        with opened.storage.exclusive():
            return search.propose(search.status(), owner)

    def released(token: str, active: tuple[int, ...] = ()) -> list[int]:
        with opened.storage.exclusive():
            return search.release_orphans(search.status(), token, active)

    with opened.storage.register_launcher("second"):
        first = propose("first")  # is not registered any more
        assert released("second") == [0]
        second = propose("second")
        assert (first.number, second.number) == (0, 0)
        assert released("second", (0,)) == []
        with opened.storage.exclusive():
            search.release(0, "first")
        assert search.status().states == {0: "running"}
        assert not search.complete(first.trial, [0.1], {0: [0.1]}, 1.0, {})
        assert search.complete(second.trial, [0.2], {0: [0.2]}, 1.0, {})
        search.report(first.trial, 0.1, 1)  # says nothing, and does not fail
        assert not search.fail(first.trial, "bug", "late", 1.0)
        assert [state for _, state, *_ in told(path, tmp_path / "runs", 0)] == ["COMPLETE"]
        assert search.study.trials[0].values == [0.2]
        assert propose("second").number == 1
        assert released("second") == [1]  # its own, of which it knows nothing: nobody works on it
