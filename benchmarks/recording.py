"""What recording adds to a run of the quickstart: looks at a few steps of training, and at the end.

    python benchmarks/recording.py [--rounds 7] [--quick] [--steps N] [--only adaptive]

Some training steps, one look in training, and what is recorded at the end, without and with the worth of levels
(`record.interventions`), are timed in turn, round after round. A run of so many steps looks as often as
`recorded_steps` says and records the end once: that, over the time of its steps alone (validation is left out), is what
recording adds. Features come from the cache, as in every run but the first.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import alternate, median, over_rounds
from measurements import Row, measurements, parser

from mtlab.config.load import compose, find_study_file, merge
from mtlab.matmul import fast_matmul
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
QUICKSTART = compose(find_study_file("quickstart")).data["set"]
GOAL = 1.03  #: with recording but the worth of levels, as a multiple of the time without
MANAGERS = ("bridge", "static", "adaptive")


def run_of(manager: str, examples: Mapping[str, int]) -> AssembledRun:
    """Assemble a run of the quickstart, with so many examples."""
    written = merge(QUICKSTART, {"data": dict(examples)})
    config = fill_defaults(written | {"manager": {"name": manager}})
    return assemble(config, seed=0)


def parts(manager: str, folder: Path, **examples: int) -> dict[str, Callable[[], None]]:
    """Make the calls that are timed: some steps, a look in training, what is recorded at the end, and that with worths.

    Args:
        manager: its name.
        folder: to write into.
        **examples: by split, where they are not as many as the quickstart's.

    """
    run = run_of(manager, examples)
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

    def end(*, interventions: bool = False) -> None:
        run.model.eval()
        asked = replace(run, record=replace(run.record, interventions=interventions))
        record(asked, folder, evaluation, taken, lambda: None)
        write_examples(folder / "examples.parquet", {"val": evaluation})

    def look() -> None:
        if not run.model.training:  # as it is in a run
            run.model.train()
        trace.record(len(trace.rows), gradient_norms(optimiser, chosen))

    return {"steps": train, "look": look, "end": end, "end with worths": partial(end, interventions=True)}


def measured(manager: str, folder: Path, rounds: int, steps: int) -> Row:
    """Measure what looks in training and the end add to the time of `steps` steps, and make a row of it."""
    found = alternate(parts(manager, folder, train=800), rounds)
    looks = len(recorded_steps(steps))
    each = []
    for of_steps, look, end, whole in zip(*found.values(), strict=True):
        of_run = of_steps.cpu * steps / TIMED
        each.append((look.cpu * looks / of_run, end.cpu / of_run, (whole.cpu - end.cpu) / of_run))
    return {
        "manager": manager,
        "recorded / not": over_rounds(1 + look + end for look, end, _ in each),
        "goal": GOAL,
        "and worth of levels": over_rounds(1 + sum(parts) for parts in each),
        "looks in training": over_rounds(look for look, _, _ in each),
        "at the end": over_rounds(end for _, end, _ in each),
        "worth": over_rounds(worth for _, _, worth in each),
        f"{TIMED} steps, CPU s": median(found["steps"]),
        "a look, CPU s": median(found["look"]),
        "the end, CPU s": median(found["end"]),
        "with worths, CPU s": median(found["end with worths"]),
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--steps", type=int, default=QUICKSTART["train"]["length"]["steps"], help="of the run")
    arguments.add_argument("--only", nargs="+", choices=MANAGERS, default=MANAGERS)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with fast_matmul(), measurements(asked) as tables:
        for manager in asked.only:
            with tempfile.TemporaryDirectory() as folder:
                tables.add("overhead", [measured(manager, Path(folder), asked.rounds, asked.steps)])


if __name__ == "__main__":
    main()
