"""Builds a run's model: cross-modal encoder, the task's heads, and the towers that run in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mtlab.config.check import check_config
from mtlab.config.nodes import lookup_options, own_options
from mtlab.config.schema import MultimodalConfig, model_schema
from mtlab.data.base import DATASETS
from mtlab.errors import UserError, place_errors
from mtlab.model.base import Encoder
from mtlab.model.encoder import CrossModalEncoder
from mtlab.model.initial import initialise
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.model.network import VisionLanguageModel
from mtlab.seeding import derive
from mtlab.tasks.base import TASKS, ModelShape, Task
from mtlab.towers.base import Tower, TowerShape
from mtlab.towers.build import build_tower
from mtlab.towers.causal_lm import CausalLanguageModel
from mtlab.towers.lora import reset_lora


class TaskModel(VisionLanguageModel):
    """A model whose heads are those of a task, by which it is trained and evaluated."""

    task: Task


def build(
    config: Mapping[str, Any],
    text: TowerShape,
    vision: TowerShape,
    *,
    answers: int,
    seed: int = 0,
    text_tower: Tower[Any] | None = None,
    vision_tower: Tower[Any] | None = None,
) -> TaskModel:
    """Build a run's model, initialised from its seed; two variants with one seed share all that they have in common.

    Args:
        config: the run's resolved configuration.
        text: what the text tower offers.
        vision: what the vision tower offers.
        answers: classes of the task's head.
        seed: the run's.
        text_tower: the tower itself, if it runs in training; its weights stay as they are.
        vision_tower: the same for images.

    Raises:
        UserError: the configuration is wrong; the key says where.

    """
    with torch.random.fork_rng(devices=[]):  # what a plug-in draws in its constructor rests on the seed too
        torch.manual_seed(derive(seed, "construct"))
        model = construct(config, text, vision, answers=answers, text_tower=text_tower, vision_tower=vision_tower)
    model.encoder.initialise(seed)
    for kind, tower in model.running_towers.items():
        reset_lora(tower, derive(seed, "lora", kind))
    initialise(model.task, seed, "task", std=model.encoder.initial_std)
    return model


def construct(
    config: Mapping[str, Any],
    text: TowerShape,
    vision: TowerShape,
    *,
    answers: int,
    text_tower: Tower[Any] | None = None,
    vision_tower: Tower[Any] | None = None,
) -> TaskModel:
    """Put a run's model together without drawing its initial values: for `build`, and for counting on the meta device.

    Arguments and errors as of `build`.
    """
    entry, options = lookup_options(TASKS, config["task"], "task")
    with place_errors(key="model"):
        model = check_config(model_schema(config["model"]), own_options(config["model"]))
    check_task(entry.name, entry.cls, multimodal=isinstance(model, MultimodalConfig))
    encoder: Encoder
    if isinstance(model, MultimodalConfig):
        text_tower = text_tower or build_tower("text", config["text"], weights=False)
        assert isinstance(text_tower, CausalLanguageModel), "a plan refuses others"
        words = None if model.answers == "head" else dataset_answers(config)
        encoder = LanguageModelEncoder(model, config["manager"], text, vision, text_tower, words)
        by_words = {"likelihoods": words is not None, "generates": model.answers == "generate"}
        shape = ModelShape(encoder.width, answers, text, vision, 1e-5, **by_words)
    else:
        encoder = CrossModalEncoder(model, config["manager"], text, vision, entry.cls.images)
        shape = ModelShape(model.width, answers, text, vision, model.norm_eps)
    with place_errors(key="task"):
        task = entry.cls.build(options, shape)
    return TaskModel(encoder, task, text_tower, vision_tower)


def check_task(name: str, task: type[Task], *, multimodal: bool) -> None:
    """Refuse a task that a language model cannot do, or that nothing else can.

    Raises:
        UserError: a language model has a task that has passes of its own through two towers, or the other way round.

    """
    if task.language_model and not multimodal:
        raise UserError(f"{name!r} needs a language model: set model.name to mllm (docs/mllm.md)", key="task.name")
    if multimodal and not task.reads_each_alone():
        raise UserError(f"{name!r} needs two towers: `model: mllm` goes with tasks that answer", key="task.name")


def dataset_answers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the answers of a resolved configuration's data set, in words."""
    entry, options = lookup_options(DATASETS, config["data"], "data")
    return tuple(entry.cls(options).answers)
