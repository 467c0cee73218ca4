"""kill -9 of a worker, of the launcher, and of both: running again ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from patience import wait_for
from standin import launch_process, make_plan, snapshot

from mtlab.runs.cleanup import hold_idle_run
from mtlab.runs.lock import parse_holder, read_lock

TARGETS = ("worker", "launcher", "both")
ROWS: dict[str, dict[str, Any]] = {
    "aaa": {"steps": 30, "pause": 0.02},
    "bbb": {"steps": 9, "pause": 0.02},
    "kid": {"steps": 12, "pause": 0.02, "parent": "bbb"},
}
QUICK, MANY = range(3), range(3, 5)


@pytest.fixture(scope="module")
def made() -> Any:
    return make_plan(ROWS)


@pytest.fixture(scope="module")
def undisturbed(made: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed") / "runs"
    process = launch_process(root, made)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return snapshot(root)


def kill_workers(root: Path, pick: random.Random | None) -> int:
    """Kill -9 one worker, or all; return how many were there to be killed."""
    locks = [read_lock(path.parent) for path in sorted((root / "cells").glob("*/s*/lock.json"))]
    held = [process for process in map(parse_holder, locks) if process is not None and process.alive()]
    chosen = [pick.choice(held)] if pick is not None and held else held
    for process in chosen:
        process.kill()
    return len(chosen)


def finished(root: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file of every finished run, with its time of change."""
    done = [path.parent for path in (root / "cells").glob("*/s*/result.json")]
    files = [path for run in done for path in run.rglob("*") if path.is_file() and path.name != "lock.json"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def strike(root: Path, launcher: subprocess.Popen[str], target: str, pick: random.Random) -> None:
    """Kill the target; of `both`, in either order."""
    if target == "worker":
        kill_workers(root, pick)
        return
    if target == "both" and pick.random() < 0.5:
        kill_workers(root, None)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    if target == "both":
        kill_workers(root, None)


def disturbed(root: Path, made: Any, target: str, moment: int) -> None:
    """Run a study that is struck up to three times at random moments, and again until it is done."""
    pick = random.Random(f"{target} {moment}")
    kept: dict[Path, tuple[bytes, int]] = {}
    for _ in range(3):
        launcher = launch_process(root, made, retries=10)
        try:
            launcher.wait(pick.uniform(0.15, 1.0))
        except subprocess.TimeoutExpired:
            kept |= finished(root)
            strike(root, launcher, target, pick)
        if target == "worker":
            break
    if target != "worker":
        launcher = launch_process(root, made, retries=10)
    out, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, out
    now = finished(root)
    for path, content in kept.items():
        assert now[path] == content, f"{path} was touched after its run had finished"


def check(tmp_path: Path, made: Any, undisturbed: dict[str, bytes], target: str, moment: int) -> None:
    root = tmp_path / "runs"
    disturbed(root, made, target, moment)
    assert snapshot(root) == undisturbed
    for record in tmp_path.glob("*.alone"):
        assert "TWO" not in record.read_text()
        assert record.read_text().count("left") <= record.read_text().count("begun")
    assert [path for path in (root / "cells").rglob("*") if path.name.startswith(".tmp-")] == []
    locks = list((root / "cells").rglob("lock.json"))
    assert target != "launcher" or locks == []
    for path in locks:  # of a worker that was killed between its result and its end
        with hold_idle_run(path.parent):
            pass


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("moment", QUICK)
def test_killed_at_a_random_moment(
    tmp_path: Path, made: Any, undisturbed: dict[str, bytes], target: str, moment: int
) -> None:
    check(tmp_path, made, undisturbed, target, moment)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("moment", MANY)
def test_killed_at_many_moments(
    tmp_path: Path, made: Any, undisturbed: dict[str, bytes], target: str, moment: int
) -> None:
    check(tmp_path, made, undisturbed, target, moment)


def test_a_stopped_worker_that_wakes_up_changes_nothing(
    tmp_path: Path, made: Any, undisturbed: dict[str, bytes]
) -> None:
    """Its launcher is killed while it stands still; another takes over before it can go on."""
    root = tmp_path / "runs"
    first = launch_process(root, made, workers=1)
    wait_for((root / "cells/aaa/s0/metrics.jsonl").exists)
    worker = parse_holder(read_lock(root / "cells" / "aaa" / "s0"))
    assert worker is not None
    os.kill(worker.pid, signal.SIGSTOP)
    first.kill()
    first.wait()
    second = launch_process(root, made, patience=1.0)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0, out
    assert worker.alive() is False
    assert snapshot(root) == undisturbed


def test_two_stores_hold_the_same_results(tmp_path: Path, made: Any, undisturbed: dict[str, bytes]) -> None:
    process = launch_process(tmp_path / "runs", made, workers=4)
    assert process.wait(60) == 0
    assert snapshot(tmp_path / "runs") == undisturbed
