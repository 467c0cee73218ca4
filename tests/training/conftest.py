"""Run directories, as the launcher makes them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import RunMaker, tiny_config


def make_in(root: Path, cell: str = "cell", seed: int = 0, parents: Any = None, **sections: Any) -> Path:
    folder = root / "cells" / cell / f"s{seed}"
    folder.mkdir(parents=True)
    content = {
        "format": 1,
        "cell": cell,
        "seed": seed,
        "config": tiny_config(**sections),
        "identity": {},
        "label": cell,
        "parents": parents or [],
        "cost": {"params": {"head": 1}, "trained_params": 1, "flops_forward": 2.0, "flops_training": 6.0},
        "plugins": [],
        "plugin_folder": str(root),
    }
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Make run directories as the launcher would: `make_run("cell", seed=0, train={…})`."""
    return partial(make_in, tmp_path)


@pytest.fixture(scope="module")
def make_runs(tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """The same for all tests of a module."""
    return partial(make_in, tmp_path_factory.mktemp("runs"))
