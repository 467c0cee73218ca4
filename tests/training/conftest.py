"""Tiny runs on the planted world: a step takes a few milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtlab.config.resolve import resolve

TOWER = {"name": "planted", "depth": 3, "planted": 2, "width": 16, "tokens": 3}
TINY: dict[str, Any] = {
    "manager": {"name": "adaptive", "noise": 1.0},
    "text": {"name": "tiny_text", "depth": 3, "width": 16, "heads": 2, "layers": "all"},
    "vision": TOWER,
    "model": {"width": 16, "heads": 2, "cross_layers": 2, "mlp_ratio": 2, "dropout": 0.1},
    "data": {"name": "planted", "train": 100, "val": 40, "test": 40},
    "train": {"length": {"steps": 30}, "batch": 16, "eval_every": 8, "checkpoint_every": 5},
}

RunMaker = Callable[..., Path]


def merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Merge `extra` into `base`; a node of another name replaces the whole node."""
    both = dict(base)
    for key, value in extra.items():
        old = base.get(key)
        merges = isinstance(old, dict) and isinstance(value, dict) and value.get("name", "") in ("", old.get("name"))
        both[key] = merged(old, value) if merges else value
    return both


def tiny_config(**sections: Any) -> dict[str, Any]:
    """Make a resolved configuration, `TINY` with some sections changed."""
    config = resolve(merged(TINY, sections))
    config["train"]["length"] = {"steps": config["train"]["length"]["steps"], "epochs": None, "flops": None}
    return config


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Make run directories as the launcher would: `make_run("cell", seed=0, train={…})`."""

    def make(cell: str = "cell", seed: int = 0, parents: list[dict[str, Any]] | None = None, **sections: Any) -> Path:
        folder = tmp_path / "cells" / cell / f"s{seed}"
        folder.mkdir(parents=True)
        content = {
            "format": 1,
            "cell": cell,
            "seed": seed,
            "config": tiny_config(**sections),
            "identity": {},
            "label": cell,
            "parents": parents or [],
            "dims": {},
        }
        (folder / "config.json").write_text(json.dumps(content))
        return folder

    return make
