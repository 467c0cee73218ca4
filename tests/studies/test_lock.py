"""Who holds a run: real processes that die, stand still, wake up again, and race."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from mtlab import files
from mtlab.errors import UserError
from mtlab.processes import EXIT_LOCKED, LAUNCHER, Process, current_process
from mtlab.runs import lock, manifest
from mtlab.runs.checkpoints import set_aside
from mtlab.runs.lock import LockedError, LockWatch, RunLock, guard, lock_state
from mtlab.runs.results import read_result, write_result

HOLD = """
import sys, pathlib
from mtlab.runs.lock import RunLock
with RunLock(pathlib.Path(sys.argv[1]), interval=0.05, patience=1.0) as held:
    print("held", flush=True)
    sys.stdin.readline()
"""

Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "abc" / "s0"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a process that holds a run until it is told to let go, and wait until it does."""
    started: list[subprocess.Popen[str]] = []

    def start(run: Path, script: str = HOLD, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_lock_says_who_and_counts_and_is_gone_at_the_end(run: Path) -> None:
    with RunLock(run, interval=0.02):
        first = files.read_json(lock.lock_path(run))
        assert Process.from_json(first) == current_process()
        time.sleep(0.2)
        assert files.read_json(lock.lock_path(run))["beat"] > first["beat"]
        assert lock_state(run) == "live"
    assert os.listdir(run) == []
    assert lock_state(run) == "free"


def test_a_live_holder_keeps_others_out(run: Path, hold: Hold) -> None:
    holder = hold(run)
    with pytest.raises(LockedError, match=f"process {holder.pid} on ") as caught:
        RunLock(run, interval=0.05, patience=5).__enter__()
    assert caught.value.file == run
    holder.communicate("go\n")
    with RunLock(run, interval=0.05):
        pass


def test_a_dead_holder_is_stale_at_once(run: Path, hold: Hold) -> None:
    holder = hold(run)
    holder.kill()
    holder.wait()
    assert lock_state(run) == "stale"
    assert LockWatch(run).observe() == "stale"
    begin = time.monotonic()
    with RunLock(run, patience=60):
        assert time.monotonic() - begin < 30, "it was not waited for"


def test_a_dead_holder_that_nobody_reaped_is_stale_at_once(run: Path, hold: Hold) -> None:
    holder = hold(run)
    os.kill(holder.pid, signal.SIGKILL)  # no wait(): it stays a zombie
    deadline = time.monotonic() + 5
    while lock_state(run) != "stale" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lock_state(run) == "stale"


def test_a_pid_given_to_another_process_is_stale_at_once(run: Path) -> None:
    me = {**current_process().to_json(), "start": current_process().start - 1, "beat": 7}
    files.write_json(lock.lock_path(run), me)
    assert lock_state(run) == "stale"
    with RunLock(run, patience=60):
        pass


def test_a_lock_from_before_a_restart_is_stale_at_once(run: Path) -> None:
    files.write_json(lock.lock_path(run), {**current_process().to_json(), "boot": "earlier", "beat": 7})
    assert lock_state(run) == "stale"


@pytest.mark.parametrize("other", [{"host": "far-away"}, {"machine": "another", "boot": "earlier"}])
def test_a_holder_elsewhere_is_judged_by_its_beat(run: Path, other: dict[str, str]) -> None:
    watch = LockWatch(run, patience=0.2)
    for beat in range(5):
        files.write_json(lock.lock_path(run), {**current_process().to_json(), **other, "pid": 1, "beat": beat})
        assert watch.observe() == ("live" if beat else "unsure")
        time.sleep(0.05)
    assert lock_state(run) == "unsure"
    time.sleep(0.2)
    assert watch.observe() == "stale"
    assert watch.clear()
    assert watch.observe() == "free"


def test_other_namespaces_on_this_host_are_judged_by_their_beat() -> None:
    assert replace(current_process(), space="pid:[1]", pid=999_999_999).alive() is None


def test_clearing_leaves_a_lock_that_is_not_the_one_seen(run: Path) -> None:
    path = lock.lock_path(run)
    files.write_json(path, {**current_process().to_json(), "boot": "earlier", "beat": 7})
    watch = LockWatch(run)
    assert watch.observe() == "stale"
    files.write_json(path, {**current_process().to_json(), "beat": 1})
    assert not watch.clear()
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"{torn", b"[]", b'{"pid": "x"}', b"\xff\x00"])
def test_a_corrupt_lock_is_taken_after_watching_it(run: Path, content: bytes) -> None:
    lock.lock_path(run).write_bytes(content)
    assert lock_state(run) == "unsure"
    begin = time.monotonic()
    with RunLock(run, interval=0.05, patience=0.3):
        assert time.monotonic() - begin >= 0.3


def test_the_lock_of_a_copied_run_is_stale_at_once_and_the_original_is_left_alone(
    run: Path, hold: Hold, tmp_path: Path
) -> None:
    holder, copy = hold(run), tmp_path / "copy" / "s0"
    shutil.copytree(run, copy)
    assert (lock_state(run), lock_state(copy)) == ("live", "stale")
    with RunLock(copy, patience=60):
        assert holder.poll() is None
        assert lock_state(run) == "live"


def test_a_guard_whose_block_fails_is_given_back_though_a_process_was_forked_in_it(run: Path) -> None:
    with suppress(ZeroDivisionError), guard(run):
        child = os.fork() or signal.pause() or 0
        raise ZeroDivisionError
    try:
        with (run.parent / f".{run.name}.guard").open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_clock_jumps_are_harmless(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = LockWatch(run, patience=5)
    files.write_json(lock.lock_path(run), {**current_process().to_json(), "host": "far-away", "beat": 1})
    os.utime(lock.lock_path(run), (0, 0))
    assert watch.observe() == "unsure"
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert watch.observe() == "unsure"


def test_a_stopped_holder_is_killed_when_its_run_is_taken_over(run: Path, hold: Hold) -> None:
    holder = hold(run)
    holder.send_signal(signal.SIGSTOP)
    with RunLock(run, interval=0.05, patience=0.5):
        assert holder.wait(5) == -signal.SIGKILL


def test_a_holder_whose_run_was_taken_over_stops(run: Path, hold: Hold) -> None:
    """As after a long pause of its host: the lock has been replaced by another's."""
    holder = hold(run)
    taken = {**current_process().to_json(), "host": "far-away", "token": "other", "beat": 1}
    files.write_json(lock.lock_path(run), taken)
    assert holder.wait(5) == EXIT_LOCKED
    assert holder.stderr is not None
    assert "taken over" in holder.stderr.read()
    assert files.read_json(lock.lock_path(run)) == taken  # and it leaves its successor's lock alone


def test_half_written_files_of_a_dead_predecessor_are_removed(run: Path) -> None:
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / f"{files.TEMPORARY}12-last.safetensors").write_bytes(b"half")
    (run / f"{files.TEMPORARY}12-result.json").write_bytes(b"half")
    with RunLock(run):
        assert os.listdir(run / "checkpoints") == []
        assert sorted(os.listdir(run)) == ["checkpoints", "lock.json"]


RACE = """
import sys, pathlib, time, os
from mtlab.runs.lock import RunLock, LockedError
run = pathlib.Path(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
try:
    with RunLock(run, interval=0.05, patience=2.0):
        with (run.parent / "inside").open("x"):
            time.sleep(0.3)
        os.unlink(run.parent / "inside")
        print("won", flush=True)
        while len(list(run.parent.glob("lost-*"))) < 5:
            time.sleep(0.01)
except LockedError:
    (run.parent / f"lost-{os.getpid()}").touch()
    print("lost", flush=True)
"""


@pytest.mark.parametrize("left", ["dead", "corrupt", "none"])
def test_of_many_that_take_over_at_once_exactly_one_wins(run: Path, hold: Hold, left: str) -> None:
    if left == "dead":
        files.write_json(lock.lock_path(run), {**current_process().to_json(), "boot": "earlier", "beat": 7})
    if left == "corrupt":
        lock.lock_path(run).write_bytes(b"?")
    racers = [hold(run, RACE) for _ in range(6)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate() for racer in racers]
    assert sorted(out.strip() for out, _ in said) == ["lost"] * 5 + ["won"], [error for _, error in said]


ORPHAN = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]],
    env={**os.environ, "%s": str(os.getpid())}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
"""


def test_a_worker_whose_launcher_was_killed_is_told_to_stop(run: Path) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            ORPHAN % LAUNCHER,
            str(run),
            HOLD.replace("sys.stdin.readline()", "__import__('time').sleep(60)"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as launcher:
        assert launcher.stdout is not None
        assert int(launcher.stdout.readline()) > 0
        worker = Process.from_json(json.loads(lock.lock_path(run).read_bytes()))
        time.sleep(0.3)
        assert worker.alive()
        launcher.kill()
    deadline = time.monotonic() + 5
    while worker.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not worker.alive()


def test_beats_go_on_while_files_cannot_grow(run: Path, hold: Hold) -> None:
    holder = hold(run)
    size = lock.lock_path(run).stat().st_size
    time.sleep(0.3)
    assert lock.lock_path(run).stat().st_size == size
    assert holder.poll() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(run: Path) -> None:
    run.parent.chmod(0o500)
    with pytest.raises(UserError, match="permission denied"):
        RunLock(run).__enter__()


def taken_over(run: Path) -> None:
    """Take a run over from its holder in this process, as another host does after a long pause of this one."""
    os.rename(lock.lock_path(run), run / "was-ours")
    files.write_json(run.parent / "lock.json", {**current_process().to_json(), "host": "far-away", "beat": 1})
    os.rename(run.parent / "lock.json", lock.lock_path(run))


def test_a_holder_whose_run_was_taken_over_changes_nothing_before_it_notices(run: Path) -> None:
    """The model's transition `fence`, of every kind of write."""
    last = run / "checkpoints" / "last.safetensors"
    with RunLock(run, interval=60):
        files.write_bytes(last, b"old")
        files.append_line(run / "metrics.jsonl", {"step": 1})
        taken_over(run)
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        for change in (
            lambda: files.write_bytes(last, b"new"),
            lambda: files.append_line(run / "metrics.jsonl", {"step": 2}),
            lambda: write_result(run, {"metrics": {}}),
            lambda: set_aside(last),
        ):
            with pytest.raises(LockedError, match="taken over"):
                change()
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        files.write_bytes(run.parent / "elsewhere.json", b"other folders are not fenced")
    assert lock.lock_path(run).exists()  # our successor's
    files.write_bytes(last, b"of no holder")  # the fence ends with the lock


def test_nobody_takes_a_run_over_while_it_is_finished(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's transitions `checksums` and `result`: the guard is held over both."""
    free: list[bool] = []
    write = manifest.write

    def look(folder: Path, text: str) -> None:
        write(folder, text)
        with (folder.parent / f".{folder.name}.guard").open("rb") as guard:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free.append(True)
            except BlockingIOError:
                free.append(False)

    monkeypatch.setattr(manifest, "write", look)
    with RunLock(run, interval=60):
        write_result(run, {"metrics": {}})
    assert free == [False]
    assert read_result(run) == {"metrics": {}}


def test_a_lock_that_another_host_removed_is_lost(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's disk says ESTALE of a file that another host has removed; of any other error nothing is known."""
    with RunLock(run, interval=60) as held:
        errors = iter([errno.ESTALE, errno.EIO])

        def fail(_: int) -> None:
            number = next(errors)
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", fail)
            assert not held.held()
            with pytest.raises(OSError, match="Input/output"):
                held.held()


def test_a_disk_that_is_gone_at_the_end_keeps_a_lock_that_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("guard", "held"):
        with RunLock(tmp_path):
            monkeypatch.setattr(*((lock, "guard") if where == "guard" else (RunLock, "held")), _vanish)
        monkeypatch.undo()
        assert lock_state(tmp_path) == "stale"


def _vanish(*_: object) -> NoReturn:
    raise OSError(errno.ENOTCONN, "gone")
