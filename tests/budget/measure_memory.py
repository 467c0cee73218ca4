"""Train a few steps for real and print the rehearsed and the measured peak, in bytes: a process of its own."""

import json
import os
import sys

import torch

from mtlab.config.check import check_config
from mtlab.config.schema import TrainConfig
from mtlab.model.forward import Runtime
from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.resolve import resolve
from mtlab.studies.budget.dummy_batch import dummy_batch
from mtlab.studies.budget.memory import training_memory
from mtlab.tasks.base import lookup_task
from mtlab.tasks.build import build
from mtlab.towers.build import KINDS, build_tower, tower_shape
from mtlab.training.environment import peak_memory_mib
from mtlab.training.optimisation.master_weights import hold_weights
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


config = resolve(json.loads(sys.argv[1]))
answers = dataset_facts(config["data"]).answers
rehearsed = training_memory(config, answers=answers)
torch.set_num_threads(1)
torch.nn.functional.layer_norm(torch.nn.Linear(8, 8)(torch.randn(4, 8)), (8,)).sum().backward()  # load the kernels
before = resident()
train = check_config(TrainConfig, config["train"])
shapes = {kind: tower_shape(kind, config[kind]) for kind in KINDS}
towers = {kind: build_tower(kind, config[kind], weights=False) for kind in KINDS if config[kind]["trainable"]}
model = build(
    config,
    shapes["text"],
    shapes["vision"],
    answers=answers,
    text_tower=towers.get("text"),
    vision_tower=towers.get("vision"),
).train()
masters = hold_weights(model, train)
groups = parameter_groups(model, train, dict.fromkeys(towers, 1.0))
optimiser = masters.follow(make_optimiser(model, groups, train, masters.of))
for step in range(2):
    task, options = lookup_task(config)
    batch = dummy_batch(
        config, task.batch_needs(options), towers, set(KINDS) - set(towers), train.batch, None, answers, task.images
    )
    arithmetic = Runtime(torch.device("cpu"), train.precision)
    train_step(model, optimiser, (batch,), arithmetic, seed=0, step=step, clip=None)
peak = peak_memory_mib(torch.device("cpu")) * 2**20
print(json.dumps({"rehearsed": rehearsed.peak, "measured": peak - before}))
