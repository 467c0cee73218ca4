"""Runs and launchers of another user on the same machine, whose processes can be neither looked into nor killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtlab import files
from mtlab.errors import UserError
from mtlab.processes import Process, current_process, running_process
from mtlab.runs.lock import LockWatch, RunLock, lock_path
from mtlab.workflow.detached import stop_launchers


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """Give a process that may not be sent signals."""
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    monkeypatch.setattr(signal, "pidfd_send_signal", _forbid)
    yield running_process(sleeper.pid)
    sleeper.communicate(b"\n")


def test_a_run_that_hangs_in_their_worker_is_taken_over(
    tmp_path: Path, theirs: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "scandir", _forbid)  # what it has open is not told either
    files.write_json(lock_path(tmp_path), {**theirs.to_json(), "token": "theirs", "beat": 1})
    watch = LockWatch(tmp_path, patience=0.1)
    assert watch.observe() == "unsure"
    time.sleep(0.2)
    assert watch.observe() == "stale"
    assert watch.clear()
    with RunLock(tmp_path) as held:
        assert held.held()
        assert theirs.alive()


def test_their_launcher_is_not_said_to_have_been_stopped(theirs: Process) -> None:
    with pytest.raises(UserError, match=f"process {theirs.pid} on .* is another user's, who can stop it"):
        stop_launchers([theirs])


def test_what_a_process_has_open_is_not_known_where_it_may_not_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a process with capabilities that its user does not have: its descriptors are listed, and hidden."""
    path = tmp_path / "lock.json"
    with path.open("w"):
        assert current_process().has_open(path) is True
        monkeypatch.setattr(os.path, "samestat", _forbid)
        assert current_process().has_open(path) is None
    monkeypatch.undo()
    assert current_process().has_open(path) is False


def _forbid(*_: object) -> bool:
    raise PermissionError
