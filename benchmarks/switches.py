"""What the switches of training cost and give: `train.compile` and `train.checkpoint_activations`.

    python benchmarks/switches.py [--rounds 7] [--batch 4] [--only compile checkpoint_activations]

`compile` is timed on a run of the quickstart's size, whose towers are cached: the compiler takes its time once for each
run. `checkpoint_activations` is timed at the published base size with trained towers; memory is that of a rehearsal, as
`mtlab budget` tells it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import ROUNDS, alternate, machine, measure, median, ratio
from published import ANSWERS, Ours, Size, configuration

from mtlab.config.check import check_config
from mtlab.config.load import compose, find_study_file
from mtlab.config.schema import TrainConfig
from mtlab.data.batches import Batch
from mtlab.model.forward import Runtime
from mtlab.model.network import VisionLanguageModel
from mtlab.resolution.defaults import fill_defaults
from mtlab.studies.budget.memory import training_memory
from mtlab.tasks.build import build
from mtlab.towers.base import Features
from mtlab.towers.build import tower_shape
from mtlab.training.environment import keep_freed_memory
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step

TIMED, WORDS = 20, 14  #: steps of the small size, and tokens of its texts


def small(manager: str) -> tuple[VisionLanguageModel, Callable[[], None]]:
    """Build a model of the quickstart's size on blank features, and what makes some steps of it."""
    config = fill_defaults(compose(find_study_file("quickstart")).data["set"] | {"manager": {"name": manager}})
    train, shapes = check_config(TrainConfig, config["train"]), [tower_shape(k, config[k]) for k in ("text", "vision")]
    model = build(config, *shapes, answers=16).train()
    optimiser = make_optimiser(model, parameter_groups(model, train, {}), train)
    mask = torch.ones(train.batch, WORDS, dtype=torch.bool)
    text = Features(tuple(torch.randn(*mask.shape, width) for width in shapes[0].widths), mask)
    image = Features(tuple(torch.randn(train.batch, shapes[1].tokens, width) for width in shapes[1].widths))
    batch = Batch(tuple(range(train.batch)), text, image, torch.zeros(train.batch, dtype=torch.long))

    def steps() -> None:
        for number in range(TIMED):
            train_step(model, optimiser, (batch,), Runtime(torch.device("cpu")), seed=0, step=number, clip=1.0)

    return model, steps


def compiled(rounds: int) -> None:
    """Time the quickstart's step with and without the compiler."""
    for manager in ("bridge", "adaptive"):
        (_, plainly), (model, faster) = small(manager), small(manager)
        model.encoder.compile(dynamic=True)
        once = measure(faster)
        found = alternate({"compiled": faster, "plain": plainly}, rounds)
        cpu, wall = (ratio(found["compiled"], found["plain"], clock) for clock in ("cpu", "wall"))
        saved = (median(found["plain"]) - median(found["compiled"])) / TIMED
        pays = f"pays after {(once.cpu - median(found['compiled'])) / saved:.0f} steps" if saved > 0 else "never pays"
        print(f"compile, {manager}: CPU {cpu}, wall {wall}; compiling took {once.cpu:.0f} CPU s: {pays}", flush=True)


def recomputed(rounds: int, batch: int) -> None:
    """Time the published size's step with and without activations kept, and tell the memory."""
    config, size = configuration("official_bridgetower"), Size(batch)
    config["train"]["batch"] = batch
    ours = Ours({"kept": config, "anew": config}, torch.device("cpu"))
    given = ours.batch(size)

    def step(*, anew: bool) -> None:
        model = ours.models["anew" if anew else "kept"]
        model.encoder.recompute = anew
        for tower in model.running_towers.values():
            if anew:
                tower.enable_gradient_checkpointing()
            elif hasattr(tower.network, "set_grad_checkpointing"):
                tower.network.set_grad_checkpointing(enable=False)
            else:
                tower.network.gradient_checkpointing_disable()
        ours.step("anew" if anew else "kept", given)

    found = alternate({"anew": partial(step, anew=True), "kept": partial(step, anew=False)}, rounds)
    cpu, wall = (ratio(found["anew"], found["kept"], clock) for clock in ("cpu", "wall"))
    memory = []
    for anew in (True, False):
        config["train"]["checkpoint_activations"] = anew
        memory.append(training_memory(config, answers=ANSWERS).activations / 2**20)
    told = f"activations {memory[0]:.0f} MiB in place of {memory[1]:.0f}"
    print(f"checkpoint_activations, bridge, batch {batch}: CPU {cpu}, wall {wall}; {told}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=("compile", "checkpoint_activations"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{machine()}\n{asked.rounds} rounds", flush=True)
    if not asked.only or "compile" in asked.only:
        compiled(asked.rounds)
    if not asked.only or "checkpoint_activations" in asked.only:
        recomputed(asked.rounds, asked.batch)


if __name__ == "__main__":
    main()
