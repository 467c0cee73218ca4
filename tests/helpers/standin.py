"""A worker that obeys the real one's contract without torch, and a launcher to be killed: `standin.py work|launch …`.

Its "training" is a chain of hashes: any step lost, repeated or taken from a wrong parent changes the result. What goes
wrong is written in the run's configuration.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError
from mtlab.processes import EXIT_LOCKED
from mtlab.runs.lock import LockedError, RunLock
from mtlab.runs.results import write_result

INTERVAL, PATIENCE = 0.1, 5.0  #: of the lock
STEPS = 12


def command(run: Path) -> list[str]:
    """Return the command line of this worker."""
    return [sys.executable, str(Path(__file__)), "work", str(run)]


def make_plan(rows: Mapping[str, Mapping[str, Any]], seeds: Sequence[int] = (0, 1), study: str = "demo") -> Any:
    """Make plan and configurations: cell → settings (`steps`, `pause`, `does`, `parent`, `hold`).

    A step takes `pause` seconds, and goes on as long as the file `hold` exists.
    """
    runs, configs = [], {}
    for cell, settings in rows.items():
        for seed in seeds:
            parent = settings.get("parent")
            parents = [f"{parent}/s{seed}"] if parent else []
            steps = settings.get("steps", STEPS)
            run = f"{cell}/s{seed}"
            cost = {"trained_params": 10, "flops_forward": 5, "flops": 100 * steps, "steps": steps}
            runs.append(
                {"id": run, "cell": cell, "seed": seed, "label": cell, "axes": {}, "parents": parents, "cost": cost}
            )
            config = {"train": {"threads": 1}, "pause": 0.01, **settings, "steps": steps}
            configs[run] = {
                "format": 1,
                "cell": cell,
                "seed": seed,
                "label": cell,
                "config": config,
                "identity": {key: config.get(key) for key in ("steps", "parent")},
                "parents": [{"cell": parent, "seed": seed}] if parent else [],
            }
    metrics = {"choose": "val/accuracy", "verdict": "test/accuracy", "report": []}
    directions = {"val/accuracy": "max", "test/accuracy": "max"}
    return {
        "study": study,
        "spec_file": study,
        "overrides": [],
        "why": "Do workers what is asked?",
        "metrics": metrics,
        "directions": directions,
        "floor": None,
        "sequential": None,
        "tracking": {},
        "plugins": [],
        "plugin_folder": ".",
        "rows": [],
        "runs": runs,
    }, configs


def until_decided(made: Any, baseline: str, looks: Sequence[int], margin: float) -> Any:
    """Make a plan with seeds until decided, on the chosen metric, of one with all seeds that may be asked for."""
    plan, configs = made
    cells = dict.fromkeys(run["cell"] for run in plan["runs"])
    rows = [
        {
            "cell": cell,
            "label": cell,
            "compare_to": None if cell == baseline else baseline,
            "blind": False,
            "questions": "shapes",
        }
        for cell in cells
    ]
    metrics = {**plan["metrics"], "verdict": plan["metrics"]["choose"]}
    rules = {"looks": list(looks), "first": 0, "spending": "obrien_fleming"}
    tested = {"test": "paired_t", "alpha": 0.05, "correct": "holm", "equivalence": margin, "sequential": rules}
    return {**plan, "rows": rows, "metrics": metrics, **tested}, configs


def look_source(store: Any, plan: Mapping[str, Any], configs: Mapping[str, Any]) -> Any:
    """Return what feeds a launch look by look; the stored plan is written as `mtlab run` does."""
    from functools import partial

    from mtlab.launch.look_source import LookSource
    from mtlab.report.sequential.looks import take_look
    from mtlab.studies.looks import read_looks

    def ask(looks: Any) -> Any:
        seeds_of = looks.seeds_of()
        return {**plan, "runs": [run for run in plan["runs"] if run["seed"] < seeds_of[run["cell"]]]}

    source = LookSource(store, read_looks(store, plan), configs, ask, partial(take_look, store))
    store.write_plan(plan["study"], source.plan)
    return source


class Trouble:
    """What goes wrong in a run, as its configuration says: a kind, and sometimes how often."""

    def __init__(self, does: str | None, attempt: int) -> None:
        kind, _, times = (does or "").partition(":")
        self.kind = kind if not times or attempt <= int(times) else ""

    def strike(self) -> None:
        """Go wrong, in the middle of the training."""
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "bug":
            raise ZeroDivisionError("division by zero")
        if self.kind == "other bug":
            raise KeyError("depth")
        if self.kind == "oom":
            raise MemoryError("asked for 3 GiB")
        if self.kind == "nan":
            raise FloatingPointError("the loss is nan")
        if self.kind == "input":
            raise UserError("no such weights", key="text.weights")
        if self.kind == "other input":
            raise UserError("no such checkpoint", key="init_from")
        if self.kind == "exit 1":
            os._exit(1)
        if self.kind == "exit 74":
            os._exit(74)
        if self.kind == "exit 0":
            os._exit(0)


def work(run: Path, attempt: Callable[[Path], int]) -> int:
    """Run one run to its end, going on from its checkpoint: by `attempt`, under the lock."""
    if (run / "result.json").exists():
        return 0
    try:
        with RunLock(run, interval=INTERVAL, patience=PATIENCE):
            return 0 if (run / "result.json").exists() else attempt(run)
    except LockedError:
        return EXIT_LOCKED


def attempt(run: Path) -> int:
    """Make one attempt, under the lock."""
    number = 1
    if (run / "state.json").exists():
        number += files.read_json(run / "state.json")["attempt"]
    (run / "failure.json").unlink(missing_ok=True)
    files.write_json(run / "state.json", {"attempt": number, "host": "here", "pid": os.getpid()})
    print(f"attempt {number}", flush=True)
    kinds = {MemoryError: "oom", FloatingPointError: "nan", UserError: "input"}
    try:
        return train(run, files.read_json(run / "config.json"), number)
    except Exception as error:
        kind = kinds.get(type(error), "bug")
        line = f"{type(error).__name__}: {error}" if kind == "bug" else str(error)
        where = "standin.py:1" if kind != "bug" else f"standin.py:{line}"
        files.write_json(
            run / "failure.json", {"kind": kind, "error": line, "where": where, "trace": "", "attempt": number}
        )
        return 2 if kind == "input" else 3


def train(run: Path, content: Any, number: int) -> int:
    """Go from step to step; a checkpoint every third."""
    config, trouble = content["config"], Trouble(content["config"].get("does"), number)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: asked.append(signum))
    last = run / "checkpoints" / "last.json"
    if last.exists():
        step, value = files.read_json(last)
    else:
        step, value = 0, f"{content['seed']}"
        for parent in content["parents"]:
            above = run.parent.parent / parent["cell"] / f"s{parent['seed']}" / "result.json"
            value += files.read_json(above)["value"]
    history = [row for row in files.read_jsonl(run / "metrics.jsonl") if row["step"] <= step]
    files.write_text(run / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    with alone(run):
        while step < config["steps"]:
            time.sleep(config["pause"])
            while config.get("hold") and Path(config["hold"]).exists():
                time.sleep(0.01)
            step, value = step + 1, hashlib.sha256(f"{value}/{step}".encode()).hexdigest()
            files.append_line(run / "metrics.jsonl", {"step": step, "seconds": 0.0, "val/accuracy": score(value)})
            if step % 3 == 0 or asked:
                files.write_json(last, [step, value])
            if asked:
                return 128 + asked[0]
            if step == config["steps"] // 2 + 1:  # not at a checkpoint
                trouble.strike()
    write_result(run, {"format": 1, "steps": step, "value": value, "metrics": {"val/accuracy": score(value)}})
    return 0


def score(value: str) -> float:
    """Make a number between 0 and 1 of a hash."""
    return int(value[:8], 16) / 16**8


class alone:  # noqa: N801 - reads as a word
    """Tell on anybody who works on a run at the same time: the kernel keeps the record, not our own lock."""

    def __init__(self, run: Path) -> None:
        self.path = run.parent.parent.parent.parent / f"{run.parent.name}-{run.name}.alone"

    def __enter__(self) -> None:
        self.stream = self.path.open("a+")
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.stream.write("TWO AT ONCE\n")
        self.stream.write("begun\n")
        self.stream.flush()

    def __exit__(self, *_: object) -> None:
        self.stream.write("left\n")
        self.stream.close()


def described(folder: Path, made: Any, *, workers: int = 2, pool: str = "local", **policy: Any) -> Path:
    """Write a plan to a file for `standin.py launch`."""
    path = folder / f"launch-{os.getpid()}-{time.monotonic_ns()}.json"
    path.write_text(
        json.dumps({"plan": made[0], "configs": made[1], "workers": workers, "pool": pool, "policy": policy})
    )
    return path


def launch_process(root: Path, made: Any, **settings: Any) -> subprocess.Popen[str]:
    """Start a launcher in a process of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, "launch", str(root), str(described(root.parent, made, **settings))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def launch(root: Path, path: Path) -> int:
    """Launch a described plan with stand-in workers and plain lines."""
    from mtlab.launch.launcher import launch
    from mtlab.launch.local.pool import LocalPool
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.launch.ray.cluster import connect
    from mtlab.launch.ray.pool import RayPool
    from mtlab.launch.slurm.pool import SlurmPool
    from mtlab.launch.views.live import make_view
    from mtlab.runs.store import Store

    data = json.loads(path.read_text())
    if data["pool"].startswith("ray "):
        connect(data["pool"].removeprefix("ray "))
    pools = {
        "local": LocalPool(data["workers"], command=command),
        "slurm": SlurmPool(16, {"extra": {}}, command=command),
        "slurm array": SlurmPool(16, {"extra": {}}, command=command, array=True),
    }
    store = Store.open(root, create=True)
    source = look_source(store, data["plan"], data["configs"]) if data["plan"].get("sequential") else None
    outcome = launch(
        store,
        data["plan"] if source is None else source.plan,
        data["configs"],
        pool=pools.get(data["pool"], RayPool(16, command=command)),
        policy=LaunchPolicy(**{"patience": PATIENCE, "grace": 5.0} | data["policy"]),
        view=make_view(),
        source=source,
    )
    return outcome.exit_code


def snapshot(root: Path) -> dict[str, bytes]:
    """Return everything that must repeat: the results, metrics and checkpoints of all runs."""
    names = ("result.json", "metrics.jsonl", "config.json", "checkpoints/last.json")
    return {
        f"{run.parent.name}/{run.name}/{name}": (run / name).read_bytes()
        for run in sorted((root / "cells").glob("*/s*"))
        for name in names
        if (run / name).exists()
    }


if __name__ == "__main__":
    sys.exit(
        work(Path(sys.argv[2]), attempt) if sys.argv[1] == "work" else launch(Path(sys.argv[2]), Path(sys.argv[3]))
    )
