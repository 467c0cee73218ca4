"""Tiny runs on the planted world: a step takes a few milliseconds."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

from forking import CONTEXT
from torch import Tensor

from mtlab.resolution.resolve import resolve
from mtlab.training import loop
from mtlab.training.worker import train

RunMaker = Callable[..., Path]  #: the fixture `make_run`

TOWER = {"name": "planted", "depth": 3, "planted": 2, "width": 16, "tokens": 3}
TINY: dict[str, Any] = {
    "manager": {"name": "adaptive", "noise": 1.0},
    "text": {"name": "tiny_text", "depth": 3, "width": 16, "heads": 2, "layers": "all"},
    "vision": TOWER,
    "model": {"width": 16, "heads": 2, "cross_layers": 2, "mlp_ratio": 2, "dropout": 0.1},
    "data": {"name": "planted", "train": 100, "val": 40, "test": 40},
    "train": {"length": {"steps": 30}, "batch": 16, "eval_every": 8, "checkpoint_every": 5},
    "record": {"interventions": False},
}


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


def run_folder(
    root: Path, cell: str = "cell", seed: int = 0, parents: list[dict[str, Any]] | None = None, **sections: Any
) -> Path:
    """Make the directory of a tiny run in the store at `root`, as the launcher would."""
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


def work(folder: str, environment: dict[str, str]) -> None:
    """Train a run, for a process of its own."""
    os.environ.update(environment)  # the process that forks it may be older than the test
    sys.exit(train(Path(folder)))


def start(folder: Path) -> ForkServerProcess:
    """Train a run in another process: a fresh fork of one in which torch is imported already."""
    process = CONTEXT.Process(target=work, args=(str(folder), dict(os.environ)))
    process.start()
    return process


def train_apart(folder: Path) -> int | None:
    """Train a run in another process and return its exit code."""
    process = start(folder)
    process.join()
    return process.exitcode


def stopped_at(folder: Path, step: int) -> int:
    """Train a run in this process, and send it SIGTERM within step `step`; return the exit code."""
    real = loop.train_step

    def stepping(*args: Any, **kwargs: Any) -> Tensor:
        if kwargs["step"] == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    with mock.patch.object(loop, "train_step", stepping):
        return train(folder)


def outcome(folder: Path) -> dict[str, Any]:
    """Gather all that must repeat: everything but time, memory and host."""
    result = json.loads((folder / "result.json").read_text())
    for key in ("seconds", "examples_per_second", "memory_mib"):
        del result["cost"][key]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    written = (
        "examples.parquet",
        "layers.safetensors",
        "trace.safetensors",
        "tokens.safetensors",
        "checkpoints/best.safetensors",
    )
    return {"result": result, "metrics": lines, **{name: (folder / name).read_bytes() for name in written}}


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if kind in row]


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
