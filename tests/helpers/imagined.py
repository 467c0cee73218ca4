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
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from standin import PATIENCE, work

from mtlab import files
from mtlab.runs.results import write_result

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

#: A search for two variants, which ends trials early; its faults are looked for.
HUNT = """
over: {{manager: [bridge, static]}}
space: {{train.lr: {{float: [1e-4, 1e-1], log: true}}, manager: default}}
sampler: {{name: tpe, n_startup_trials: 3}}
pruner: {{name: median, n_startup_trials: 2}}
seeds: 2
budget: {{trials: {trials}}}
storage: {storage}
"""


def write_sweep(folder: Path, text: str, name: str = "hunt") -> Path:
    """Write `NAME.yaml` with the keys that are given on top of `SWEEP`; return its path."""
    (folder / "imagined.yaml").write_text(SWEEP.format(name=name))
    path = folder / f"{name}.yaml"
    path.write_text(f"kind: sweep\nbase: imagined\nname: {name}\n{text}\n")
    return path


def write_hunt(folder: Path, storage: str, trials: int, name: str = "hunt") -> Path:
    """Write a sweep of `HUNT`, on a storage, of so many trials each; return its path."""
    return write_sweep(folder, HUNT.format(storage=storage, trials=trials), name)


def free(config: Any) -> Any:
    """Price little: as many parameters as there are layers, times a hundred."""
    from mtlab.studies.cell_cost import CellCost

    layers = config["model"].get("cross_layers", 1)
    return CellCost({"cross-modal layers": 100 * layers}, 100 * layers, 1000.0 * layers, 3000.0 * layers)


def accuracy(config: Any, seed: int, step: int) -> float:
    """Return what a run has reached at a step: the better, the nearer its learning rate is to `BEST`."""
    miss = math.log10(config["train"]["lr"] / BEST) ** 2 + 0.01 * seed
    miss += 0.1 * (config["manager"]["name"] == "bridge") + 0.1 * config["train"]["weight_decay"]
    return round((1 - math.exp(-step)) * math.exp(-miss), 6)


def command(run: Path) -> list[str]:
    """Return the command line of this worker."""
    return [sys.executable, str(Path(__file__)), "work", str(run)]


def _attempt(run: Path) -> int:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    return train(run, json.loads(os.environ.get("IMAGINED", "{}")), asked)


def train(run: Path, behaviour: Any, asked: Sequence[int] = ()) -> int:
    """Go from step to step; what goes wrong says `behaviour`: `nan above` a learning rate, `die at` a step, …"""
    content, last = files.read_json(run / "config.json"), run / "checkpoints" / "last.json"
    config, seed = content["config"], content["seed"]
    number = 1 + (files.read_json(run / "state.json")["attempt"] if (run / "state.json").exists() else 0)
    (run / "failure.json").unlink(missing_ok=True)
    files.write_json(run / "state.json", {"attempt": number, "host": "here"})
    step = files.read_json(last) if last.exists() else 0
    history = [row for row in files.read_jsonl(run / "metrics.jsonl") if row["step"] <= step]
    files.write_text(run / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    while step < config["train"]["length"]["steps"]:
        time.sleep(behaviour.get("pause", 0.0))
        step += 1
        row = {"step": step, "seconds": step / 10, "val/accuracy": accuracy(config, seed, step)}
        files.append_line(run / "metrics.jsonl", row)
        if step % 2 == 0 or asked:
            files.write_json(last, step)
        if asked:
            return 128 + asked[0]
        if config["train"]["lr"] > behaviour.get("nan above", math.inf) and step == 2:
            return _fail(run, "nan", "the loss is nan", number)
        if step == behaviour.get("bug at") and number == 1:
            return _fail(run, behaviour.get("kind", "bug"), f"ZeroDivisionError: {run.parent.name}", number)
        if step == behaviour.get("same bug at"):
            return _fail(run, "bug", "ZeroDivisionError: division by zero", number)
        if step == behaviour.get("die at") and number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    value = accuracy(config, seed, step)  # a worker killed after its last step goes on here
    result = {
        "format": 1,
        "steps": step,
        "best_step": step,
        "stopped_early": False,
        "metrics": {"val/accuracy": value, "val/loss": 1 - value, "test/accuracy": value / 2},
        "cost": {**content["cost"], "seconds": step / 10, "examples_per_second": 100.0, "memory_mib": 10.0},
        "interventions": None,
        "mixes": {},
    }
    write_result(run, result)
    return 0


def _fail(run: Path, kind: str, error: str, number: int) -> int:
    where = f"imagined.py:{error}" if kind == "bug" else None
    files.write_json(
        run / "failure.json", {"kind": kind, "error": error, "where": where, "trace": "", "attempt": number}
    )
    return 3


class Opened:
    """A sweep with its searches, to be driven in this process."""

    def __init__(self, path: Path, root: Path, overrides: Sequence[str] = ()) -> None:
        from mtlab.runs.store import Store
        from mtlab.sweeps.run import open_searches
        from mtlab.sweeps.spec import read_sweep
        from mtlab.sweeps.storage.base import open_storage
        from mtlab.sweeps.variants import prepare

        self.prepared = prepare(read_sweep(path, overrides), free)
        self.store = Store.open(root, create=True)
        name = self.prepared.sweep.name
        folder = self.store.claim_study(name, path, path.read_text())
        self.storage = open_storage(self.prepared.sweep.keys.storage, name, folder)
        self.searches = open_searches(self.prepared, self.storage)
        self.events: list[Any] = []

    def search(self, trials: int | None = None, **behaviour: Any) -> None:
        """Search one run after the other, each at once and to its end; stop after so many trials have ended."""
        from mtlab.launch.board import Board, make_job
        from mtlab.launch.exit_status import RunFailure
        from mtlab.sweeps.driver import Driver
        from mtlab.sweeps.plan import PlanFile, to_json

        token, board = f"here-{time.monotonic_ns()}", Board("hunt", "val/accuracy", {}, 1)
        with self.storage.register_launcher(token):
            with self.storage.exclusive():
                stored = PlanFile(self.store, to_json(self.prepared))
                for search in self.searches:
                    search.release_orphans(search.status(), token)
                    search.retry()
            driver = Driver(
                self.prepared,
                self.searches,
                self.storage,
                self.store,
                token,
                on_trial=stored.add,
                on_event=self.events.append,
            )
            try:
                turn = driver.poll(board)
                while turn.add or turn.open:
                    for run, config in turn.add:
                        job = board.jobs.setdefault(run["id"], make_job(self.store, run))
                        directory = self.store.create_run(run["id"], config)
                        lost = [above for above in job.parents if board.jobs[above].state == "failed"]
                        if lost:
                            job.state, job.note = "blocked", f"waits for {lost[0]}"
                        elif train(directory, behaviour):
                            job.state, job.failure = "failed", RunFailure.from_json(self.store.failure(run["id"]) or {})
                        else:
                            job.state = "done"
                    if trials is not None and self.ended >= trials:
                        break
                    turn = driver.poll(board)
            finally:
                driver.release()

    @property
    def ended(self) -> int:
        """Trials that have ended, of all variants."""
        return sum(event.state in ("done", "pruned", "failed") for event in self.events)

    def trials(self, variant: int = 0) -> list[Any]:
        """Return what a search did: parameters, state, values and reports of each trial."""
        found = self.searches[variant].study.get_trials(deepcopy=False)
        return [(each.params, each.state.name, each.values, each.intermediate_values) for each in found]


def launch(path: Path, root: Path, workers: int) -> int:
    """Search as `mtlab sweep` does, with imagined runs in processes of their own."""
    from mtlab.launch.local.pool import LocalPool
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.sweeps.run import run_searches

    opened = Opened(path, root)
    ended = run_searches(
        opened.prepared,
        opened.searches,
        opened.storage,
        opened.store,
        pool=LocalPool(workers, command=command),
        policy=LaunchPolicy(patience=PATIENCE, grace=5.0),
        on_event=lambda each: print(each.trial, each.state, each.text, each.value, flush=True),
    )
    return ended.exit_code


class Launcher:
    """A launcher in a process of its own, whose output is read as it comes; `behaviour` is that of its workers."""

    def __init__(self, path: Path, store: Path, workers: int = 1, **behaviour: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "launch", str(path), str(store), str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "IMAGINED": json.dumps(behaviour)},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line)

    def said(self, word: str) -> int:
        """How often has it said a word?"""
        return sum(word in line.split() for line in self.lines)

    def wait(self, seconds: float = 300) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code


if __name__ == "__main__":
    if sys.argv[1] == "work":
        sys.exit(work(Path(sys.argv[2]), _attempt))
    sys.exit(launch(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
