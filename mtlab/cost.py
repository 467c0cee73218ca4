"""What a run costs, known before it starts: parameters by part and FLOPs, counted on the meta device.

*Published arithmetic*: all tokens of all layers, one example, matrix products and convolutions alone (a multiplication
and an addition count as two); elementwise work counts nothing. On the meta device, since torch counts attention on CPU
tensors as nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mtlab.model import VisionLanguageModel, construct
from mtlab.towers import build_tower, tower_shape
from mtlab.towers.base import Features, Tower, TowerShape

PARTS = (
    "text tower",
    "vision tower",
    "projections",
    "embeddings",
    "managers",
    "cross-modal layers",
    "poolers",
    "head",
)
_OF_STREAM = {
    "gate": "projections",
    "projections": "projections",
    "embeddings": "embeddings",
    "managers": "managers",
    "layers": "cross-modal layers",
    "pooler": "poolers",
}


@dataclass(frozen=True)
class Flops:
    """Forward FLOPs for one example, by what becomes of the part in training."""

    trained: int
    frozen: int

    @property
    def total(self) -> int:
        """Sum them up."""
        return self.trained + self.frozen


@dataclass(frozen=True)
class Cost:
    """What a run costs."""

    params: Mapping[str, int]  #: by part, see `PARTS`
    trained_params: int
    flops_forward: Flops  #: one example, full token counts
    flops_step: int  #: training on one example: 3 × trained parts, 1 × frozen ones that no cache spares


def part(name: str) -> str:
    """Tell which of `PARTS` a parameter of the whole model belongs to, by its name.

    >>> part("encoder.text.layers.0.self_norm.weight")
    'cross-modal layers'
    """
    room, _, rest = name.partition(".")
    if room == "towers":
        return f"{rest.partition('.')[0]} tower"
    return "head" if room == "task" else _OF_STREAM[rest.split(".")[1]]


def params(model: VisionLanguageModel) -> dict[str, int]:
    """Count the parameters of every part, trained or not."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[part(name)] += parameter.numel()
    return {name: counts[name] for name in PARTS}


def count(config: Mapping[str, Any], *, answers: int) -> Cost:
    """Count what a run of this resolved configuration costs; no weights are loaded.

    Args:
        config: the run's resolved configuration.
        answers: classes of the task's head.

    Raises:
        UserError: the configuration is wrong; the key says where.

    """
    text, vision = tower_shape("text", config["text"]), tower_shape("vision", config["vision"])
    with torch.device("meta"):
        text_tower = build_tower("text", config["text"], weights=False)
        vision_tower = build_tower("vision", config["vision"], weights=False)
        model = construct(
            config, text, vision, answers=answers, text_tower=text_tower, vision_tower=vision_tower
        ).eval()
    forward = {True: fusion_flops(model, text, vision), False: 0}
    for tower, inputs in ((text_tower, 1), (vision_tower, model.task.pictures)):
        forward[any(p.requires_grad for p in tower.parameters())] += inputs * tower_flops(tower)
    flops = Flops(trained=forward[True], frozen=forward[False])
    return Cost(
        params=params(model),
        trained_params=sum(p.numel() for p in model.parameters() if p.requires_grad),
        flops_forward=flops,
        flops_step=3 * flops.trained + (0 if config["cache"]["enabled"] else flops.frozen),
    )


def tower_flops(tower: Tower[Any]) -> int:
    """Count a tower's forward FLOPs for one example of full size; the tower is on the meta device."""
    inputs = [given.to("meta") for given in tower.dummy_inputs(1)]
    return _counted(lambda: tower(*inputs))


def fusion_flops(model: VisionLanguageModel, text: TowerShape, vision: TowerShape) -> int:
    """Count encoder and head for one example, from the towers' levels on; the model is on the meta device."""
    given = [
        Features(tuple(torch.empty(inputs, shape.tokens, width, device="meta") for width in shape.widths))
        for shape, inputs in ((text, 1), (vision, model.task.pictures))
    ]
    return _counted(lambda: model(*given))


def _counted(run: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    total: int = counter.get_total_flops()
    return total
