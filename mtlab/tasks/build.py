"""Builds a run's model: cross-modal encoder, the task's heads, and the towers that run in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mtlab.config.check import check_config
from mtlab.config.nodes import lookup_options
from mtlab.config.schema import ModelConfig
from mtlab.errors import UserError
from mtlab.model.encoder import CrossModalEncoder
from mtlab.model.network import VisionLanguageModel, initial_std, initialise
from mtlab.seeding import derive
from mtlab.tasks.base import TASKS, ModelShape, Task
from mtlab.towers.base import Tower, TowerShape


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
    std = initial_std(model.encoder.config)
    initialise(model.encoder, seed, "encoder", std=std, position_std=model.encoder.config.position_std)
    initialise(model.task, seed, "task", std=std)
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
    try:
        model = check_config(ModelConfig, config["model"])
    except UserError as error:
        raise error.at(key="model") from None
    encoder = CrossModalEncoder(model, config["manager"], text, vision, entry.cls.images)
    try:
        task = entry.cls.build(options, ModelShape(model.width, answers, text, vision, model.norm_eps))
    except UserError as error:
        raise error.at(key="task") from None
    return TaskModel(encoder, task, text_tower, vision_tower)
