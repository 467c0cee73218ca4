"""Stores in which everything occurs, made once, and served to browsers: tests that change one make their own."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, visit  # noqa: F401 - fixtures
from fabric import fabric  # noqa: F401 - a fixture
from stores import mixed
from tiny_study import write_study
from visiting import Serve

from mtlab.dashboard.dashboard_data import DashboardData


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the store."""
    folder: Path = tmp_path_factory.mktemp("mixed") / "runs"
    mixed(folder)
    return folder


@pytest.fixture
def data(root: Path) -> Iterator[DashboardData]:
    """Open the store as the pages do, without remembering anything for long."""
    opened = DashboardData(root, max_age=0.0)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Serve stores, as the command does, from this process."""
    begun = []

    def begin(root: Path) -> str:
        from werkzeug.serving import make_server

        from mtlab.dashboard.app import make_app
        from mtlab.dashboard.server import protect

        data = DashboardData(root)
        server = make_server("127.0.0.1", 0, protect(make_app(data).server, local=True), threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        begun.append((server, data))
        return f"http://127.0.0.1:{server.port}"

    yield begin
    for server, data in begun:
        server.shutdown()
        data.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store in which everything occurs, with a study of runs that were really trained."""
    folder: Path = tmp_path_factory.mktemp("browser")
    root = folder / "runs"
    mixed(root)
    path = write_study(folder, "axes: {manager: [bridge, adaptive]}\nbaseline: {manager: bridge}\nseeds: 2", "real")
    subprocess.run(
        [sys.executable, "-m", "mtlab", "run", str(path), "--store", str(root)], check=True, capture_output=True
    )
    return root


@pytest.fixture(scope="module")
def base(trained: Path, serve: Serve) -> str:
    """Serve that store; its address."""
    return serve(trained)
