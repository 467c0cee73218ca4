"""The training speed on this device: a few timed steps on dummy inputs, with random weights."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mtlab.config.check import check_config
from mtlab.config.schema import TrainConfig
from mtlab.errors import UserError
from mtlab.matmul import fast_matmul
from mtlab.model.forward import Runtime
from mtlab.studies.budget.dummy_batch import dummy_batch
from mtlab.studies.budget.memory import Memory
from mtlab.tasks.base import lookup_task
from mtlab.tasks.build import build
from mtlab.towers.build import KINDS, build_tower, tower_shape
from mtlab.training.environment import choose_device, device_name
from mtlab.training.optimisation.master_weights import hold_weights
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.sources import cached_towers, towers_to_run
from mtlab.training.steps import train_step
from mtlab.units import format_si

MIN_STEPS, MIN_SECONDS = 3, 5.0  #: of timing
_TRAIN = ("batch", "micro_batch", "precision", "optimizer", "checkpoint_activations")


def options_of_a_step(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options on which the memory and the speed of a step depend, beside those that size the model."""
    return {
        "train": {name: config["train"][name] for name in _TRAIN},
        "manager": config["manager"],  # noise, and dropout, have tensors and take time
        "model": config["model"],
    }


@dataclass(frozen=True)
class Speed:
    """The measured speed of training."""

    seconds_per_example: float  #: training, without loading data; on a CPU, as if no other program were at work
    steps: int  #: timed, after one for warm-up
    examples: int  #: in each
    device: str
    threads: int


def calibrate(
    config: Mapping[str, Any],
    memory: Memory | None,
    *,
    answers: int,
    text_tokens: int,
    seconds: float | None = None,
) -> Speed:
    """Time some steps of one micro-batch on the device that the configuration names.

    Args:
        config: the run's resolved configuration.
        memory: what training takes, see `training_memory`; None: it is known to fit.
        answers: classes of the task's head.
        text_tokens: length of the texts.
        seconds: to time at least; None: `MIN_SECONDS`.

    Raises:
        UserError: the device does not exist, or has too little free memory.

    """
    train = check_config(TrainConfig, config["train"])
    runtime = Runtime(choose_device(train.device), train.precision)
    free = _free_bytes(runtime.device)
    if memory is not None and memory.peak > free:
        needed, available = format_si(memory.peak, "B"), format_si(free, "B")
        raise UserError(
            f"a step needs about {needed}, {device_name(runtime.device)} has {available} free: lower it, or calibrate "
            "where it fits",
            key="train.micro_batch",
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(train.threads)
    try:
        with fast_matmul():
            return _timed(config, train, runtime, answers, text_tokens, MIN_SECONDS if seconds is None else seconds)
    finally:
        torch.set_num_threads(threads)


def _timed(
    config: Mapping[str, Any], train: TrainConfig, runtime: Runtime, answers: int, text_tokens: int, least: float
) -> Speed:
    examples = train.micro_batch or train.batch
    cached = cached_towers(config)
    towers = {kind: build_tower(kind, config[kind], weights=False) for kind in towers_to_run(config, cached)}
    task, options = lookup_task(config)
    model = build(
        config,
        tower_shape("text", config["text"]),
        tower_shape("vision", config["vision"]),
        answers=answers,
        text_tower=towers.get("text"),
        vision_tower=towers.get("vision"),
    )
    model = model.to(runtime.device).train()
    if train.checkpoint_activations:
        model.recompute()
    scales: dict[str, float] = {kind: config[kind]["lr_scale"] for kind in KINDS if config[kind]["trainable"]}
    masters = hold_weights(model, train)
    optimiser = masters.follow(make_optimiser(model, parameter_groups(model, train, scales), train, masters.of))
    batch = dummy_batch(
        config, task.batch_needs(options), towers, cached, examples, text_tokens, answers, model.task.images
    )

    def step(number: int) -> None:
        train_step(model, optimiser, (batch,), runtime, seed=0, step=number, clip=train.clip)
        if runtime.device.type == "cuda":
            torch.cuda.synchronize(runtime.device)

    # On a CPU, the time that this thread computes: it does all serial work and its share of the rest.
    clock = time.thread_time if runtime.device.type == "cpu" else time.perf_counter
    step(0)
    began, started, done = time.perf_counter(), clock(), 0
    while done < MIN_STEPS or time.perf_counter() - began < least:
        done += 1
        step(done)
    return Speed((clock() - started) / (done * examples), done, examples, device_name(runtime.device), train.threads)


def _free_bytes(chosen: torch.device) -> int:
    if chosen.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()  # of the steps of other cells
        free: int = torch.cuda.mem_get_info(chosen)[0]
        return free
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"  # macOS has the latter
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
