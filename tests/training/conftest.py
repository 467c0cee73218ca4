"""Run directories, as the launcher makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import RunMaker, run_folder


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Make run directories as the launcher would: `make_run("cell", seed=0, train={…})`."""

    def make(cell: str = "cell", seed: int = 0, parents: list[dict[str, Any]] | None = None, **sections: Any) -> Path:
        return run_folder(tmp_path, cell, seed, parents, **sections)

    return make
