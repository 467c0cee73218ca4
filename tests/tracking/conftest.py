"""A store with a finished study, and a W&B server to send it to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from read_back import one_run
from served import KEY, Server
from tracked_study import STUDY
from trained_here import trained_store

from mtlab.runs.store import Store

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a study of four finished runs; not to be changed."""
    folder = tmp_path_factory.mktemp("tracked")
    file = folder / "tracked.yaml"
    file.write_text(STUDY)
    return trained_store(file)


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Store:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "runs")
    return Store.open(tmp_path / "runs")


@pytest.fixture
def wandb_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no settings and no server but the test's own."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home/.netrc"))
    (tmp_path / "home").mkdir()


@pytest.fixture
def serve(tmp_path: Path, wandb_home: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start a W&B server and point everything to it; one that is started again still knows its runs."""
    servers: list[Server] = []

    def start(*words: str) -> Server:
        path = tmp_path / "server.json"
        command = [sys.executable, str(HERE / "wandb_server.py"), str(path), *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        servers.append(Server(path, process, f"http://127.0.0.1:{int(process.stdout.readline())}"))
        monkeypatch.setenv("WANDB_BASE_URL", servers[-1].url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def one(store: Store) -> Store:
    return one_run(store)
