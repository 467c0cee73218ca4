"""What recording adds to a run of the quickstart: looks at a few steps of training, and at the end.

    python benchmarks/recording.py [--rounds 7] [--steps 600] [--only adaptive]

Some training steps, one look in training, and what is recorded at the end are timed in turn, round after round. A
run of so many steps looks as often as `recorded_steps` says and records the end once: that, over the time of its steps
alone (validation is left out), is what recording adds. Features come from the cache, as in every run but the first.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import ROUNDS, alternate, machine, median, ratio

from mtlab.config.load import compose, find_study_file, merge
from mtlab.model.forward import ForwardContext
from mtlab.recording.trace import Trace, recorded_steps
from mtlab.resolution.defaults import fill_defaults
from mtlab.tasks.evaluation import evaluate
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.environment import keep_freed_memory
from mtlab.training.finish import record, write_examples
from mtlab.training.optimisation.optimiser import gradient_norms, make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step

TIMED = 25  #: steps
MANAGERS = ("bridge", "static", "adaptive")


def run_of(manager: str) -> AssembledRun:
    """Assemble a run of the quickstart, with a tenth of its training data."""
    written = merge(compose(find_study_file("quickstart")).data["set"], {"data": {"train": 800}})
    config = fill_defaults(written | {"manager": {"name": manager}})
    config["train"]["length"] = {"steps": 600, "epochs": None, "flops": None}
    return assemble(config, seed=0)


def shares(run: AssembledRun, folder: Path, rounds: int, steps: int) -> dict[str, tuple[float, float]]:
    """Measure what looks in training and the end add, CPU and wall, as shares of the time of `steps` steps."""
    chosen = parameter_groups(run.model, run.train, run.tower_scales)
    optimiser = make_optimiser(run.model, chosen, run.train)
    loader = run.loader("val")
    trace = Trace(folder / "trace.safetensors", run.model, run.runtime, loader, run.evaluation_batch, run.levels)
    batches = run.training.steps(0, run.train.batch, run.train.batch)
    taken = 0

    def train() -> None:
        nonlocal taken
        run.model.train()
        for _ in range(TIMED):
            taken += 1
            train_step(run.model, optimiser, next(batches), run.runtime, seed=0, step=taken, clip=run.train.clip)

    train()
    run.model.eval()
    evaluation = evaluate(ForwardContext(run.model, run.runtime), run.loader("val"), run.evaluation_batch)

    def end() -> None:
        run.model.eval()
        record(run, folder, evaluation, taken, lambda: None)
        write_examples(folder / "examples.parquet", {"val": evaluation})

    def look() -> None:
        run.model.train()
        trace.record(len(trace.rows), gradient_norms(optimiser, chosen))

    found = alternate({"steps": train, "look": look, "end": end}, rounds)
    often = {"look": len(recorded_steps(steps)), "end": 1}
    told = ", ".join(f"{name} {median(seconds):.2f}" for name, seconds in found.items())
    print(f"CPU seconds of {TIMED} steps, a look and the end: {told}", flush=True)
    added = {}
    for name, count in often.items():
        cpu, wall = (ratio(found[name], found["steps"], clock).median for clock in ("cpu", "wall"))
        added[name] = count * cpu * TIMED / steps, count * wall * TIMED / steps
    return added


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=600, help="of the run")
    parser.add_argument("--only", nargs="+", choices=MANAGERS, default=MANAGERS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{machine()}\na run of {asked.steps} steps, {asked.rounds} rounds, median of CPU (wall) seconds\n")
    print(f"{'':10} {'looks in training':>20} {'at the end':>18} {'with / without':>18}")
    for manager in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            found = shares(run_of(manager), Path(folder), asked.rounds, asked.steps)
        told = [f"+{cpu:.3f} (+{wall:.3f})" for cpu, wall in found.values()]
        whole = [1 + sum(each) for each in zip(*found.values(), strict=True)]
        print(f"{manager:10} {told[0]:>20} {told[1]:>18} {f'{whole[0]:.3f} ({whole[1]:.3f})':>18}", flush=True)


if __name__ == "__main__":
    main()
