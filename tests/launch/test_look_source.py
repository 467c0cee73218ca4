"""Seeds until decided: looks are taken as their runs end, and interruptions, failures and company change nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import standin
from standin import look_source, make_plan, until_decided

from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.local.pool import LocalPool
from mtlab.launch.policy import LaunchPolicy
from mtlab.report import frame
from mtlab.report.sequential.looks import find_tests
from mtlab.runs.store import Store
from mtlab.studies.looks import Looks, read_looks, record_path

LOOKS = (3, 4, 6, 8)
STEPS = {"base": 3, "one": 4, "two": 5}  # results depend on seed and steps


def made(margin: float = 0.65, **settings: Any) -> Any:
    """Make a study of three cells, whose results are random numbers between 0 and 1."""
    rows = {cell: {"steps": steps, "pause": 0.0, **settings.get(cell, {})} for cell, steps in STEPS.items()}
    return until_decided(make_plan(rows, range(LOOKS[-1])), "base", LOOKS, margin)


def launched(root: Path, plan: Any, source: Any = None) -> LaunchOutcome:
    store = Store.open(root, create=True)
    source = source or look_source(store, *plan)
    policy = LaunchPolicy(patience=5.0, grace=5.0, keep_going=True)
    pool = LocalPool(3, command=standin.command)
    return launch(store, source.plan, plan[1], pool=pool, policy=policy, source=source)


def looks_of(root: Path, plan: Any) -> Looks:
    found = read_looks(Store.open(root), plan[0])
    assert found is not None
    return found


def seeds_on_disk(root: Path) -> dict[str, int]:
    return {cell.name: len(list(cell.glob("s*/result.json"))) for cell in sorted((root / "cells").glob("*"))}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the store of a study that ran without any trouble."""
    root = tmp_path_factory.mktemp("undisturbed") / "runs"
    assert launched(root, made()).exit_code == 0
    return root


def test_looks_are_taken_until_all_comparisons_have_ended(undisturbed: Path) -> None:
    plan = made()
    looks = looks_of(undisturbed, plan)
    assert not looks.open
    assert {cell: test.n for (cell, _), test in looks.last.items()} == {"one": 8, "two": 6}
    assert [test.n for test in looks.tests(("one", "base"))] == list(LOOKS[: len(looks.tests(("one", "base")))])
    assert seeds_on_disk(undisturbed) == looks.seeds_of()  # no run more than was needed
    store = Store.open(undisturbed)
    stored = store.plan("demo")
    assert len(stored["runs"]) == sum(looks.seeds_of().values())
    again = Looks(looks.pairs, looks.numbers)  # as all runs together say it
    runs, outcomes = frame.run_frame(store, stored), frame.outcomes_by_cell(store, stored, split="val")
    for look in looks.taken:
        tests = find_tests(runs, outcomes, stored, again, [test.pair for test in look])
        again = Looks(again.pairs, again.numbers, (*again.taken, tuple(tests)))
    assert again == looks
    assert launched(undisturbed, plan).exit_code == 0  # nothing is left to do
    assert looks_of(undisturbed, plan) == looks


def test_a_wide_margin_ends_early_and_needs_fewer_runs(tmp_path: Path) -> None:
    plan = made(margin=3.0)  # differences are at most 1
    assert launched(tmp_path / "runs", plan).exit_code == 0
    looks = looks_of(tmp_path / "runs", plan)
    assert {test.ended for test in looks.last.values()} == {"equivalence"}
    assert max(seeds_on_disk(tmp_path / "runs").values()) < LOOKS[-1]


def test_finished_runs_of_another_study_count_at_once(undisturbed: Path, tmp_path: Path) -> None:
    """With all runs in the store, the decisions are those of the study that waited for each."""
    root, plan = tmp_path / "runs", made()
    store = Store.open(root, create=True)
    pool = LocalPool(3, command=standin.command)
    launch(store, plan[0], plan[1], pool=pool, policy=LaunchPolicy(patience=5.0))
    assert launched(root, plan).exit_code == 0
    assert looks_of(root, plan) == looks_of(undisturbed, plan)


@pytest.mark.slow
def test_a_launcher_that_is_killed_goes_on_where_it_was(undisturbed: Path, tmp_path: Path) -> None:
    root, plan = tmp_path / "runs", made()
    kills = 0
    for delay in (0.6, 0.9, 1.3, 2.0, 3.0):
        process = standin.launch_process(root, plan, workers=3, keep_going=True)
        time.sleep(delay)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills
    assert launched(root, plan).exit_code == 0
    assert looks_of(root, plan) == looks_of(undisturbed, plan)
    assert seeds_on_disk(root) == seeds_on_disk(undisturbed)


@pytest.mark.parametrize("after", ["test", "record"])
def test_an_interrupt_between_decision_record_and_plan_loses_nothing(
    undisturbed: Path, tmp_path: Path, after: str
) -> None:
    root, plan = tmp_path / "runs", made()
    store = Store.open(root, create=True)
    source = look_source(store, *plan)
    take = source.take_look

    class PowerCutError(Exception):
        pass

    def cut(*args: Any) -> Looks:
        if after == "record":
            take(*args)
        raise PowerCutError

    source.take_look = cut
    with pytest.raises(PowerCutError):
        launched(root, plan, source)
    assert len(looks_of(root, plan).taken) == (after == "record")
    assert launched(root, plan).exit_code == 0
    assert looks_of(root, plan) == looks_of(undisturbed, plan)


@pytest.mark.slow
def test_several_launchers_at_once_do_not_disagree(undisturbed: Path, tmp_path: Path) -> None:
    root, plan = tmp_path / "runs", made()
    processes = [standin.launch_process(root, plan, workers=2, keep_going=True) for _ in range(3)]
    output = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], output
    assert looks_of(root, plan) == looks_of(undisturbed, plan)
    assert seeds_on_disk(root) == seeds_on_disk(undisturbed)
    assert not any("TWO AT ONCE" in path.read_text() for path in tmp_path.glob("*.alone"))
    assert len(Store.open(root).plan("demo")["runs"]) == sum(looks_of(root, plan).seeds_of().values())


def test_a_variant_that_fails_does_not_hold_up_the_others_and_may_be_mended(tmp_path: Path) -> None:
    root, broken = tmp_path / "runs", made(two={"does": "nan"})
    assert launched(root, broken).exit_code == 1
    looks = looks_of(root, broken)
    assert looks.open == (("two", "base"),)
    assert not looks.tests(("two", "base"))
    ended = looks.last["one", "base"]
    assert ended.ended is not None
    assert launched(root, made()).exit_code == 0
    mended = looks_of(root, broken)
    assert not mended.open
    assert mended.taken[: len(looks.taken)] == looks.taken  # what was decided stays
    assert mended.last["one", "base"] == ended


def test_a_failed_baseline_leaves_all_comparisons_open(tmp_path: Path) -> None:
    root, plan = tmp_path / "runs", made(base={"does": "nan"})
    assert launched(root, plan).exit_code == 1
    assert not looks_of(root, plan).taken
    assert not record_path(Store.open(root), plan[0]).exists()
