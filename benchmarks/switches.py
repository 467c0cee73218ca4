"""What the switches of training cost and give: `train.compile` and `train.checkpoint_activations`.

    python benchmarks/switches.py [--rounds 7] [--quick] [--batch 4] [--only compile checkpoint_activations]

`compile` is timed on a run of the quickstart's size, whose towers are cached: the compiler takes its time once for each
run. `checkpoint_activations` is timed at the published base size with trained towers; memory is that of a rehearsal, as
`mtlab budget` tells it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import alternate, measure, median, ratio
from measurements import Row, measurements, parser
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

SWITCHES = ("compile", "checkpoint_activations")
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


def compiled(rounds: int) -> list[Row]:
    """Time the quickstart's step with and without the compiler."""
    rows: list[Row] = []
    for manager in ("bridge", "adaptive"):
        (_, plainly), (model, faster) = small(manager), small(manager)
        model.encoder.compile(dynamic=True)
        once = measure(faster)
        found = alternate({"compiled": faster, "plain": plainly}, rounds)
        saved = (median(found["plain"]) - median(found["compiled"])) / TIMED
        compiling = once.cpu - median(found["compiled"])
        rows.append(
            {
                "manager": manager,
                "compiled / plain": ratio(found["compiled"], found["plain"]),
                "compiling, CPU s": compiling,
                "pays after steps": round(compiling / saved) if saved > 0 else "never",
                "plain, CPU s a step": median(found["plain"]) / TIMED,
            }
        )
    return rows


def recomputed(rounds: int, batch: int) -> Row:
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
    memory = {}
    for anew in (True, False):
        config["train"]["checkpoint_activations"] = anew
        memory[anew] = training_memory(config, answers=ANSWERS).activations / 2**20
    return {
        "manager": "bridge",
        "batch": batch,
        "recomputed / kept": ratio(found["anew"], found["kept"]),
        "kept, CPU s a step": median(found["kept"]),
        "activations recomputed, MiB": memory[True],
        "activations kept, MiB": memory[False],
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="batch 2")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--only", nargs="+", choices=SWITCHES, default=SWITCHES)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with measurements(asked) as tables:
        if "compile" in asked.only:
            tables.add("compile", compiled(asked.rounds))
        if "checkpoint_activations" in asked.only:
            tables.add("checkpoint_activations", [recomputed(asked.rounds, 2 if asked.quick else asked.batch)])


if __name__ == "__main__":
    main()
