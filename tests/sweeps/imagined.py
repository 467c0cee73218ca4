"""Sweeps whose runs are imagined: a worker that reads a learning curve off a formula, and a launcher to be killed.

`imagined.py work RUN` obeys the real worker's contract (lock, checkpoint, signals, files) without torch. The accuracy
that a run reaches is known for every learning rate, so that a search has something to find.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.studies.costs import CellCost
from mtlab.studies.lock import LOCKED, LockedError, RunLock

INTERVAL, PATIENCE = 0.1, 5.0  #: of the lock
BEST = 3e-3  #: the learning rate that is best

SWEEP = """
kind: sweep
name: {name}
set:
  text: {{name: tiny_text, depth: 3, width: 16, layers: all}}
  vision: {{name: tiny_vision, depth: 3, width: 16, layers: all}}
  data: {{name: shapes, train: 64, val: 16, test: 16}}
  model: {{width: 16, heads: 2, cross_layers: 2, mlp_ratio: 1}}
  train: {{batch: 8, length: {{steps: 6}}, eval_every: 1, checkpoint_every: 2}}
"""


def write_sweep(folder: Path, text: str, name: str = "hunt") -> Path:
    """Write `NAME.yaml` with the keys that are given on top of `SWEEP`; return its path."""
    (folder / "imagined.yaml").write_text(SWEEP.format(name=name))
    path = folder / f"{name}.yaml"
    path.write_text(f"kind: sweep\nbase: imagined\nname: {name}\n{text}\n")
    return path


def free(config: Any) -> CellCost:
    """Price nothing."""
    layers = config["model"]["cross_layers"]
    return CellCost({"cross-modal layers": 100 * layers}, 100 * layers, 1000.0 * layers, 3000.0 * layers)


def accuracy(config: Any, seed: int, step: int) -> float:
    """Return what a run has reached at a step: the better, the nearer its learning rate is to `BEST`."""
    miss = math.log10(config["train"]["lr"] / BEST) ** 2
    miss += 0.1 * (config["manager"]["name"] == "bridge") + 0.02 * math.sin(7 * seed + config["train"]["lr"] * 1e4)
    return round((1 - math.exp(-step)) * math.exp(-miss), 6)


def command(run: Path) -> list[str]:
    """Return the command line of this worker."""
    return [sys.executable, str(Path(__file__)), "work", str(run)]


def work(run: Path) -> int:
    """Run one run to its end, going on from its checkpoint."""
    if (run / "result.json").exists():
        return 0
    try:
        with RunLock(run, interval=INTERVAL, patience=PATIENCE):
            return 0 if (run / "result.json").exists() else _attempt(run)
    except LockedError:
        return LOCKED


def _attempt(run: Path) -> int:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    content, last = files.read_json(run / "config.json"), run / "checkpoints" / "last.json"
    config, seed = content["config"], content["seed"]
    number = 1 + (files.read_json(run / "state.json")["attempt"] if (run / "state.json").exists() else 0)
    (run / "failure.json").unlink(missing_ok=True)
    files.write_json(run / "state.json", {"attempt": number, "host": "here"})
    behaviour = json.loads(os.environ.get("IMAGINED", "{}"))
    step = files.read_json(last) if last.exists() else 0
    history = [row for row in files.read_jsonl(run / "metrics.jsonl") if row["step"] <= step]
    files.write_text(run / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    steps = config["train"]["length"]["steps"]
    while step < steps:
        time.sleep(behaviour.get("pause", 0.0))
        step += 1
        value = accuracy(config, seed, step)
        files.append_line(run / "metrics.jsonl", {"step": step, "seconds": step / 10, "val/accuracy": value})
        if step % 2 == 0 or asked:
            files.write_json(last, step)
        if asked:
            return 128 + asked[0]
        if config["train"]["lr"] > behaviour.get("nan above", math.inf) and step == 2:
            failure = {"kind": "nan", "error": "the loss is nan", "where": None, "trace": "", "attempt": number}
            files.write_json(run / "failure.json", failure)
            return 3
        if step == behaviour.get("die at") and number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    metrics = {"val/accuracy": value, "val/loss": 1 - value, "test/accuracy": value / 2}
    result = {
        "format": 1,
        "steps": step,
        "best_step": step,
        "stopped_early": False,
        "metrics": metrics,
        "cost": {**content["cost"], "seconds": step / 10, "examples_per_second": 100.0, "memory_mib": 10.0},
        "interventions": None,
        "mixes": {},
    }
    files.write_json(run / "result.json", result)
    return 0


def launch(path: Path, store: Path, workers: int) -> int:
    """Search as `mtlab sweep` does, with imagined runs."""
    from mtlab.studies.launcher import Policy
    from mtlab.studies.store import Store
    from mtlab.sweeps.run import open_searches, run_searches
    from mtlab.sweeps.spec import read_sweep
    from mtlab.sweeps.storage import open_shelf
    from mtlab.sweeps.variants import prepare

    prepared, opened = prepare(read_sweep(path), free), Store.open(store, create=True)
    name = prepared.sweep.name
    opened.claim_study(name, path, path.read_text())
    shelf = open_shelf(prepared.sweep.keys.storage, name, opened.study(name))
    searches = open_searches(prepared, shelf)
    ended = run_searches(
        prepared,
        searches,
        shelf,
        opened,
        free,
        workers=workers,
        policy=Policy(patience=PATIENCE, grace=5.0),
        command=command,
        news=lambda each: print(each.trial, each.word, each.text, each.value, flush=True),
    )
    return ended.exit_code


def launch_process(path: Path, store: Path, workers: int = 1, **behaviour: Any) -> subprocess.Popen[str]:
    """Start a launcher in a process of its own; `behaviour` is that of its workers."""
    arguments: Sequence[str] = ["launch", str(path), str(store), str(workers)]
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "IMAGINED": json.dumps(behaviour)},
    )


if __name__ == "__main__":
    if sys.argv[1] == "work":
        sys.exit(work(Path(sys.argv[2])))
    sys.exit(launch(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
