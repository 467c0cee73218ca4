"""What a sweep costs beside training.

    python benchmarks/sweep_overhead.py [--trials 100] [--quick] [--storage journal postgresql://USER@HOST/DATABASE]

*trial*: asking for a trial, its cell and plan, reports, telling, of runs that are made up on the spot: a curve of six
validations and a result. With one launcher, two seeds, TPE and the median pruner: CPU milliseconds per trial, mean, and
the slowest of twenty. *real*: a short search of real trials of `sweeps/quick.yaml`, one after another and none pruned:
CPU seconds of all processes beyond those of the same command with nothing left to do, as a share of those of the
training steps alone, which are timed in this process afterwards. What remains is a worker's start, data, validations,
the evaluation of the best checkpoint, recording, and the launcher.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from alternating import measure
from measurements import Row, measurements, parser
from processes import mtlab

from mtlab import files
from mtlab.launch.board import Board, make_job
from mtlab.matmul import fast_matmul
from mtlab.runs.results import write_result
from mtlab.runs.store import Store
from mtlab.sweeps import driver as driving
from mtlab.sweeps.driver import Driver
from mtlab.sweeps.plan import PlanFile, to_json
from mtlab.sweeps.run import open_searches
from mtlab.sweeps.search import Search
from mtlab.sweeps.spec import read_sweep
from mtlab.sweeps.storage.base import open_storage
from mtlab.sweeps.variants import prepare
from mtlab.training.assemble import assemble
from mtlab.training.environment import keep_freed_memory
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step

GOAL = 1.15  #: CPU seconds of a trial, by those of its training steps

VALIDATIONS = 6
SWEEP = """
kind: sweep
name: {name}
set:
  text: {{name: tiny_text, depth: 3, width: 16, layers: all}}
  vision: {{name: tiny_vision, depth: 3, width: 16, layers: all}}
  data: {{name: shapes, train: 64, val: 16, test: 16}}
  model: {{width: 16, heads: 2, cross_layers: 2, mlp_ratio: 1}}
  train: {{batch: 8, length: {{steps: {steps}}}, eval_every: 1}}
over: {{manager: [static]}}
space: {{train.lr: {{float: [1e-4, 1e-1], log: true}}, manager: default}}
pruner: {{name: median, n_startup_trials: 5}}
seeds: 2
budget: {{trials: {trials}}}
storage: {storage}
"""


class Times:
    """CPU milliseconds by what they were spent on, trial by trial."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add what passes within to the last trial."""
        began = time.process_time()
        yield
        if self.spent[what]:
            self.spent[what][-1] += 1000 * (time.process_time() - began)

    def next(self) -> None:
        """Begin another trial."""
        for what in ("ask", "cell", "report", "tell", "all"):
            self.spent[what].append(0.0)

    def row(self) -> Row:
        """Return the mean of each, and of all the slowest of twenty."""
        slowest = sorted(self.spent["all"])[int(0.95 * len(self.spent["all"]))]
        means = {f"{what}, CPU ms": statistics.fmean(values) for what, values in self.spent.items()}
        return means | {"slowest of twenty, CPU ms": slowest}


@contextmanager
def timed(times: Times) -> Iterator[None]:
    """Measure, within the block, the calls that make up a trial's bookkeeping."""
    with ExitStack() as undo:

        def wrap(owner: Any, name: str, what: str) -> None:
            inner = getattr(owner, name)

            def outer(*given: Any, **named: Any) -> Any:
                with times.on(what):
                    return inner(*given, **named)

            setattr(owner, name, outer)
            undo.callback(setattr, owner, name, inner)

        for name, what in {"propose": "ask", "set_cell": "ask", "report": "report", "should_prune": "report"}.items():
            wrap(Search, name, what)
        for name in ("complete", "prune"):
            wrap(Search, name, "tell")
        wrap(driving, "trial_runs", "cell")
        yield


def imagine(directory: Path, config: Any) -> None:
    """Make up a run: the better, the nearer its learning rate is to one."""
    lr, seed = config["config"]["train"]["lr"], config["seed"]
    for step in range(1, VALIDATIONS + 1):
        files.append_line(
            directory / "metrics.jsonl", {"step": step, "seconds": step, "val/accuracy": lr * step + seed}
        )
    value = lr * VALIDATIONS + seed
    cost = {**config["cost"], "seconds": 6.0}
    write_result(directory, {"steps": VALIDATIONS, "metrics": {"val/accuracy": value}, "cost": cost})


def training_seconds(runs: Sequence[Path], blocks: int, steps: int) -> float:
    """Return the CPU seconds of the training steps of runs of one variant: a step, timed here, times their number."""
    config = files.read_json(runs[0] / "config.json")
    run = assemble(config["config"], config["seed"])
    optimiser = make_optimiser(run.model, parameter_groups(run.model, run.train, run.tower_scales), run.train)
    batches = run.training.steps(0, run.train.batch, run.train.batch, 0)
    run.model.train()

    def train() -> None:
        for step in range(steps):
            train_step(run.model, optimiser, next(batches), run.runtime, seed=0, step=step, clip=run.train.clip)

    with fast_matmul():  # as workers train
        train()  # the first ones are slower
        step = statistics.median(measure(train).cpu for _ in range(blocks)) / steps
    return step * sum(int(files.read_json(each / "result.json")["steps"]) for each in runs)


def real(name: str, trials: int, blocks: int) -> Row:
    """Run so many trials of each variant of a shipped sweep; return what they took beside their training."""
    with tempfile.TemporaryDirectory() as store:
        search = mtlab(
            *(
                "sweep",
                "run",
                name,
                f"study.budget={{trials: {trials}}}",
                "study.pruner=none",
                "--search-only",
                *("--workers", "1"),  # two at once may slow each other, and the steps timed below run alone
                *("--store", store),
            )
        )
        whole, nothing = measure(search).cpu, measure(search).cpu
        runs: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(Path(store).glob("cells/*/s*/result.json")):
            label = str(files.read_json(path.parent / "config.json")["config"]["manager"]["name"])
            runs[label].append(path.parent)
        training = sum(training_seconds(each, blocks, 10) for each in runs.values())
        count = sum(map(len, runs.values()))
    return {
        "sweep": name,
        "trials": count,
        "all / training steps": (whole - nothing) / training,
        "goal": GOAL,
        "a trial, CPU s": (whole - nothing) / count,
        "its training steps, CPU s": training / count,
        "the command without trials, CPU s": nothing,
    }


def measured(kind: str, trials: int) -> Row:
    """Run a sweep of made-up runs in a kind of storage; return the row of its times."""
    times = Times()
    with tempfile.TemporaryDirectory() as folder, timed(times):
        os.environ.setdefault("MTLAB_CACHE", f"{folder}/cache")
        path, store = Path(folder) / "overhead.yaml", Store.open(Path(folder) / "runs", create=True)
        name = f"overhead-{os.getpid()}"
        path.write_text(SWEEP.format(name=name, steps=VALIDATIONS, trials=trials, storage=kind))
        prepared = prepare(read_sweep(path))
        storage = open_storage(kind, name, store.claim_study(name, path, path.read_text()))
        searches = open_searches(prepared, storage)
        with storage.register_launcher("here"):
            stored, board = PlanFile(store, to_json(prepared)), Board(name, "val/accuracy", {}, 1)
            driver = Driver(
                prepared, searches, storage, store, "here", on_trial=stored.add, on_event=lambda _: times.next()
            )
            changes = driver.poll(board)
            while changes.add or changes.open:
                for run, config in changes.add:
                    imagine(store.create_run(run["id"], config), config)
                    board.jobs.setdefault(run["id"], make_job(store, run)).state = "done"
                with times.on("all"):
                    changes = driver.poll(board)
        counts = searches[0].status().counts
        storage.close()
    return {"storage": kind.partition(":")[0], "trials": sum(counts.values()), **times.row()}


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="20 made-up trials")
    arguments.add_argument("--trials", type=int, default=100)
    arguments.add_argument("--storage", nargs="+", default=["journal"])
    arguments.add_argument("--real", nargs="*", default=["quick"], help="shipped sweeps to run in part")
    arguments.add_argument("--each", type=int, default=2, help="real trials of each variant")
    asked = arguments.parse_args()
    keep_freed_memory()  # as workers do
    with measurements(asked) as tables:
        tables.add("trial", [measured(kind, 20 if asked.quick else asked.trials) for kind in asked.storage])
        for name in asked.real:
            tables.add("real", [real(name, asked.each, asked.rounds)])


if __name__ == "__main__":
    main()
