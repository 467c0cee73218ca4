"""Run directories, as the launcher makes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tiny_runs import RunMaker, run_folder


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Make run directories as the launcher would: `make_run("cell", seed=0, train={…})`."""
    return partial(run_folder, tmp_path)


@pytest.fixture(scope="module")
def make_runs(tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """The same for all tests of a module."""
    return partial(run_folder, tmp_path_factory.mktemp("runs"))
