"""Workers forked by a server: the same results and ends as those that are started, and none outlives its launcher."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import wait_for
from tiny_runs import run_folder

from mtlab.launch.local import fork_server, pool
from mtlab.launch.local.pool import LocalPool
from mtlab.launch.pool import Attempt
from mtlab.processes import running_process
from mtlab.runs.lock import lock_state, parse_holder, read_lock

FILES = ("checkpoints/best.safetensors", "examples.parquet", "layers.safetensors", "trace.safetensors")
ENDLESS = {"train": {"length": {"steps": 1_000_000}}}
LAUNCHER = """
import asyncio, json, sys
from pathlib import Path
from mtlab.launch.local.pool import LocalPool
async def main():
    run = Path(sys.argv[1])
    async with LocalPool(1, forks=True) as pool:
        await (await pool.start(run, json.loads((run / "config.json").read_text()))).wait()
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path / "cache"))


def config_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "config.json").read_text())


def trained(run: Path, **how: Any) -> int:
    """Train a run in a pool of its own; return its worker's pid."""

    async def train() -> int:
        async with LocalPool(1, **how) as pool:
            attempt = await pool.start(run, config_of(run))
            assert (await attempt.wait()).code == 0, (run / "log.txt").read_text()
            return int(attempt.details["pid"])

    return asyncio.run(train())


def holds_lock(run: Path) -> bool:
    return lock_state(run) == "live"


def command_of(pid: int) -> str:
    """Return the command of mtlab's that a process runs: the word after ``-m mtlab``."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index("mtlab") + 1]


async def until_it_trains(run: Path) -> None:
    await asyncio.to_thread(wait_for, (run / "checkpoints" / "last.safetensors").exists)


@pytest.mark.slow
def test_a_forked_worker_gives_what_a_started_one_gives(tmp_path: Path) -> None:
    forked, started = run_folder(tmp_path / "forked"), run_folder(tmp_path / "started")
    pid = trained(forked, forks=True)
    trained(started)
    for name in FILES:
        assert (forked / name).read_bytes() == (started / name).read_bytes(), name
    assert (forked / "log.txt").read_text().count("finished after 30 steps") == 1
    assert json.loads((forked / "state.json").read_text())["pid"] == pid != os.getpid()
    assert lock_state(forked) == "free"


@pytest.mark.slow
def test_its_ends_are_told_and_without_its_server_workers_are_started(tmp_path: Path) -> None:
    runs = {name: run_folder(tmp_path, name, **ENDLESS) for name in ("killed", "stopped", "orphaned", "after")}

    async def play() -> None:
        async with LocalPool(4, forks=True) as pool:
            attempts: dict[str, Attempt] = {}
            for name in ("killed", "stopped", "orphaned"):
                attempts[name] = await pool.start(runs[name], config_of(runs[name]))
            for name in attempts:
                await until_it_trains(runs[name])
            pids = {name: attempt.details["pid"] for name, attempt in attempts.items()}
            assert {os.getsid(pid) for pid in pids.values()} == set(pids.values())
            holder = parse_holder(read_lock(runs["orphaned"]))
            assert holder is not None
            assert holder.pid == pids["orphaned"]

            os.kill(pids["killed"], signal.SIGKILL)
            assert (await attempts["killed"].wait()).code == -signal.SIGKILL
            attempts["stopped"].stop()
            assert (await attempts["stopped"].wait()).code == 128 + signal.SIGTERM
            server = int(Path(f"/proc/{pids['orphaned']}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(server, signal.SIGKILL)
            assert await attempts["orphaned"].wait() == fork_server.ORPHANED
            assert lock_state(runs["orphaned"]) == "free", "it was asked to stop, and has left"

            attempt = await pool.start(runs["after"], config_of(runs["after"]))
            await until_it_trains(runs["after"])
            assert command_of(attempt.details["pid"]) == "train"
            attempt.stop(force=True)
            assert (await attempt.wait()).code == -signal.SIGKILL

    asyncio.run(play())


@pytest.mark.slow
def test_neither_server_nor_worker_outlives_a_killed_launcher(tmp_path: Path) -> None:
    run = run_folder(tmp_path, **ENDLESS)
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(run)]) as launcher:
        wait_for(lambda: holds_lock(run))
        worker = parse_holder(read_lock(run))
        assert worker is not None
        server = running_process(int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1]))
        assert server.alive()
        assert server.pid != launcher.pid
        launcher.kill()
    wait_for(lambda: not server.alive() and not worker.alive())
    assert lock_state(run) == "free"
    assert "interrupted by SIGTERM" in (run / "log.txt").read_text()


@pytest.mark.slow
def test_a_changed_source_file_is_not_mixed_with_what_the_server_has_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run_folder(tmp_path, name, **ENDLESS) for name in ("before", "after")]
    sources = fork_server._source_files()

    async def command_in(pool: LocalPool, run: Path, config: dict[str, Any]) -> str:
        attempt = await pool.start(run, config)
        await until_it_trains(run)
        command = command_of(attempt.details["pid"])
        attempt.stop(force=True)
        await attempt.wait()
        return command

    async def play() -> None:
        async with LocalPool(2, forks=True) as pool:
            assert await command_in(pool, runs[0], config_of(runs[0])) == fork_server.COMMAND
            monkeypatch.setattr(fork_server, "_source_files", lambda: {**sources, Path("new.py"): (1, 1)})
            assert await command_in(pool, runs[1], config_of(runs[1])) == "train"

    asyncio.run(play())


def test_where_no_server_can_be_started_workers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "COMMAND", "no-such-command")
    run = run_folder(tmp_path)
    trained(run, forks=True, command=lambda run: ["sh", "-c", f"echo started; touch {run}/result.json"])
    assert (run / "log.txt").read_text() == "started\n"


def test_a_source_file_that_is_just_being_replaced_ends_no_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished() -> None:
        raise FileNotFoundError

    monkeypatch.setattr(fork_server, "_source_files", vanished)
    run = run_folder(tmp_path)
    trained(run, forks=True, command=lambda run: ["sh", "-c", f"echo started; touch {run}/result.json"])
    assert (run / "log.txt").read_text() == "started\n"


@pytest.mark.parametrize("forked", [False, True])
def test_a_worker_is_asked_to_stop_once_and_killed_whenever_forced(
    monkeypatch: pytest.MonkeyPatch, *, forked: bool
) -> None:
    """A second SIGTERM would kill it while it writes its checkpoint."""
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda _, number: sent.append(number))

    async def stop() -> None:
        process: Any = SimpleNamespace(pid=os.getpid(), returncode=None)
        worker = fork_server.ForkedWorker(os.getpid()) if forked else pool._Worker(process, (), Counter())
        for force in (False, False, True, True):
            worker.stop(force=force)

    asyncio.run(stop())
    assert sent == [signal.SIGTERM, signal.SIGKILL, signal.SIGKILL]
