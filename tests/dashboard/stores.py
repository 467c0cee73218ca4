"""A store in which everything occurs: finished, failed, running, cut off, half-written, damaged and foreign runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import recordings
from fabric import Fabric, write

from mtlab.processes import current_process
from mtlab.runs.results import write_result
from mtlab.runs.store import Store

EVIL = "<img src=x onerror=alert(1)>"  #: what must be shown as it stands wherever it comes from
HELD: list[Any] = []  #: locks that are open in this process
VARIANTS = ("last", "bridge", "static", "adaptive")


def mixed(root: Path) -> Fabric:
    """Write the store; the study `trial` has two axes, four managers and two depths, two seeds each."""
    fabric = Fabric(Store.open(root, create=True), examples=60)
    for number, cell in enumerate(cells()):
        for seed in (0, 1):
            finish(fabric, cell, seed, number)
    store = fabric.store
    for cell, seed, make in (
        ("adaptive-3", 1, _fail),
        ("adaptive-2", 1, _go_on),
        ("static-3", 1, _cut_off),
        ("static-3", 0, _never_begin),
        ("bridge-3", 1, _damage),
        ("bridge-3", 0, _half_write),
    ):
        make(fabric, store.run(f"{cell}/s{seed}"))
    store.write_plan("trial", plan(fabric))
    finish(fabric, "stray", 0, 3)
    (root / "cells/notes/of mine").mkdir(parents=True)
    for name, text in (("broken", "{"), ("odd", '{"hello": 1}'), ("my notes", "{}")):
        (root / f"studies/{name}").mkdir(parents=True)
        (root / f"studies/{name}/plan.json").write_text(text)
    return fabric


def cells() -> list[str]:
    """Name the cells of the study."""
    return [f"{manager}-{depth}" for depth in (2, 3) for manager in VARIANTS]


def plan(fabric: Fabric) -> dict[str, object]:
    """Make the study's plan."""
    made = fabric.plan(cells(), seeds=2, baseline="bridge-2", why=f"Which is best? {EVIL}")
    for entry in (*made["rows"], *made["runs"]):
        manager, _, depth = entry["cell"].partition("-")
        entry["axes"] = {"manager": {"name": manager}, "model.cross_layers": int(depth)}
        entry["label"] = f"{manager} · {depth}"
    for row in made["rows"]:
        row["axis_labels"] = {"manager": row["label"].split()[0], "model.cross_layers": row["cell"][-1]}
    return made


def finish(fabric: Fabric, cell: str, seed: int, number: int) -> Path:
    """Write a finished run with all that runs record, on pictures of shapes."""
    folder = fabric.finish(cell, seed, 0.5 + 0.05 * number + 0.01 * seed)
    config = json.loads((folder / "config.json").read_text())
    world = {"name": "shapes", "train": 40, "val": 16, "test": 16}
    model = {"manager": {"name": cell.partition("-")[0]}, "model": {"cross_layers": 3}, "data": world}
    write(folder / "config.json", {**config, "config": model, "label": cell})
    result = json.loads((folder / "result.json").read_text())
    log(folder, 800)
    (folder / "log.txt").write_text(f"step 800/800: val/accuracy 0.5\n{EVIL}\n")
    recordings.write_layers(folder, seed, pattern=number)
    recordings.write_trace(folder, seed, pattern=number)
    recordings.write_tokens(folder, examples=4, pattern=number)
    write_result(folder, {**result, "interventions": recordings.interventions(seed=number)})
    return folder


def log(folder: Path, steps: int) -> None:
    """Write metrics up to a step."""
    rows = [
        {"step": step, "seconds": step / 10, "train/loss": 10 / step, "val/accuracy": 0.3 + step / 2000}
        for step in range(100, steps + 1, 100)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _unfinish(folder: Path) -> None:
    for name in ("result.json", "examples.parquet", *(f"{kind}.safetensors" for kind in ("layers", "trace", "tokens"))):
        (folder / name).unlink()


def _fail(_: Fabric, folder: Path) -> None:
    _unfinish(folder)
    failure = {"kind": "nan", "error": f"loss is NaN at step 12 {EVIL}", "where": "loop.py:1", "attempt": 1}
    write(folder / "failure.json", {**failure, "trace": f"Traceback\n{EVIL}\nDivergedError"})


def _go_on(_: Fabric, folder: Path) -> None:
    _unfinish(folder)
    log(folder, 300)
    write(folder / "lock.json", {**current_process().to_json(), "token": "t", "beat": 1})
    HELD.append((folder / "lock.json").open())  # as a holder has it


def _cut_off(_: Fabric, folder: Path) -> None:
    _unfinish(folder)
    log(folder, 500)


def _never_begin(_: Fabric, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _damage(_: Fabric, folder: Path) -> None:
    (folder / "result.json").write_text('{"format": 1, "steps": 800, "metr')


def _half_write(_: Fabric, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "metrics.jsonl").write_text('{"step": "seven"}\nnot json\n{"step": 3, "val/accuracy": "high"}\n')
