"""Parameters by part and FLOPs of a model, counted on the meta device before anything runs.

*Published arithmetic*: all tokens of all layers, one example, matrix products and convolutions alone (a multiplication
and an addition count as two); elementwise operations are not counted. The meta device is used because torch counts
attention on CPU tensors as zero.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mtlab.config.schema import is_multimodal
from mtlab.disk_cache import library_version, load_or_compute
from mtlab.managers.base import MODALITIES
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.tasks.base import lookup_task
from mtlab.tasks.build import TaskModel, construct
from mtlab.towers.base import Features, Tower, TowerShape
from mtlab.towers.build import KINDS, TowerKind, build_tower, tower_digest, tower_node, tower_shape

_NO_COST = ("lr_scale", "gate")  #: a tower's options that change neither its size nor its work
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
    "projector": "projections",
    "embeddings": "embeddings",
    "level_embeddings": "embeddings",
    "managers": "managers",
    "managers_by_layer": "managers",
    "layers": "cross-modal layers",
    "pooler": "poolers",
}


@dataclass(frozen=True)
class Flops:
    """Forward FLOPs for one example, of trained and of frozen parts."""

    trained: int
    frozen: int

    @property
    def total(self) -> int:
        """FLOPs of all parts."""
        return self.trained + self.frozen


@dataclass(frozen=True)
class ModelCost:
    """Parameters and FLOPs of a model."""

    params: Mapping[str, int]  #: by part, see `PARTS`
    trained_params: int
    flops_forward: Flops  #: one example, full token counts
    #: training on one example: 3 × trained parts, 1 × frozen towers that are not cached, and 2 × a frozen language
    #: model, whose layers hand gradients on to projector and managers
    flops_step: int


def part_of(name: str) -> str:
    """Return which of `PARTS` a parameter of the whole model belongs to, by its name.

    >>> part_of("encoder.text.layers.0.self_norm.weight")
    'cross-modal layers'
    """
    room, _, rest = name.partition(".")
    if room == "towers":
        return f"{rest.partition('.')[0]} tower"
    if room == "task":
        return "head"
    first, _, below = rest.partition(".")
    return _OF_STREAM[below.partition(".")[0] if first in MODALITIES else first]


def count_params(model: TaskModel) -> dict[str, int]:
    """Count the parameters of every part, trained or not."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    return {name: counts[name] for name in PARTS}


@dataclass(frozen=True)
class TowerCost:
    """Parameters and FLOPs of a tower."""

    params: int
    trained_params: int
    flops: int  #: forward, one input of full size


def count_cost(config: Mapping[str, Any], *, answers: int) -> ModelCost:
    """Count parameters and FLOPs of a resolved configuration; no weights are loaded.

    Args:
        config: the run's resolved configuration.
        answers: classes of the task's head.

    Raises:
        UserError: the configuration is wrong; the key says where.

    """
    text, vision = tower_shape("text", config["text"]), tower_shape("vision", config["vision"])
    parts = ("manager", "model", "task", *(("text", "data") if is_multimodal(config) else ()))
    built = json.dumps({part: config[part] for part in parts}, sort_keys=True)
    task, options = lookup_task(config)
    fusion, often = _fusion_cost(built, text, vision, answers), task.pass_counts(options)
    towers = {kind: tower_cost(kind, config[kind]) for kind in KINDS}
    # A language model's layers are run by the encoder, which counts what they train and cost.
    trained = {
        kind for kind in KINDS if config[kind].get("trainable") and tower_node(kind, config[kind])[0].cls.cacheable
    }
    inputs: dict[TowerKind, int] = {"text": 1, "vision": fusion.images}
    work = {kind: inputs[kind] * towers[kind].flops for kind in KINDS}
    frozen, passed = sum(work[kind] for kind in work if kind not in trained), fusion.language_model
    passed = 0 if config["text"].get("trainable") else passed
    flops = Flops(trained=fusion.flops - passed + sum(work[kind] for kind in trained), frozen=frozen + passed)
    step = often.fusion * (fusion.flops - passed) + fusion.further_heads
    step += often.towers * sum(work[kind] for kind in trained)
    # A cache replaces frozen towers, except for texts with masked words, which differ in every epoch.
    live = often.masked_texts * (0 if "text" in trained else work["text"])
    return ModelCost(
        params=dict(fusion.params) | {f"{kind} tower": towers[kind].params for kind in KINDS},
        trained_params=fusion.trained_params + sum(towers[kind].trained_params for kind in trained),
        flops_forward=flops,
        flops_step=3 * step
        + 2 * often.fusion * passed
        + (live if config["cache"]["enabled"] else often.towers * frozen),
    )


@dataclass(frozen=True)
class _FusionCost:
    """Parameters and FLOPs of encoder and heads, which depend on the towers' shapes alone."""

    params: Mapping[str, int]
    trained_params: int
    flops: int
    language_model: int  #: of `flops`, those of its layers and of its output map
    further_heads: int
    images: int


@lru_cache(maxsize=256)
def _fusion_cost(built: str, text: TowerShape, vision: TowerShape, answers: int) -> _FusionCost:
    with torch.device("meta"):
        model = construct(json.loads(built), text, vision, answers=answers).eval()
    return _FusionCost(
        params=count_params(model),
        trained_params=sum(p.numel() for p in model.parameters() if p.requires_grad),
        flops=fusion_flops(model, text, vision),
        language_model=language_model_flops(model, text, vision),
        further_heads=head_flops(model, text, vision),
        images=model.task.images,
    )


def tower_cost(kind: TowerKind, node: Mapping[str, Any]) -> TowerCost:
    """Count a tower's parameters and FLOPs, cached on disk, as building a large tower takes seconds.

    Raises:
        UserError: as `build_tower`.

    """
    shared = {option: value for option, value in node.items() if option not in _NO_COST}
    about = {library: library_version(library) for library in ("torch", "timm", "transformers")}
    entry = tower_node(kind, node)[0]
    about |= {"tower": f"{entry.version} {entry.source}", "digest": str(tower_digest(kind, node))}
    return _tower_cost(kind, json.dumps([shared, about], sort_keys=True))


@lru_cache(maxsize=256)
def _tower_cost(kind: TowerKind, key: str) -> TowerCost:
    def learn() -> dict[str, int]:
        with torch.device("meta"):
            tower = build_tower(kind, json.loads(key)[0], weights=False).eval()
        params = list(tower.parameters())
        return {
            "params": sum(p.numel() for p in params),
            "trained_params": sum(p.numel() for p in params if p.requires_grad),
            "flops": tower_flops(tower),
        }

    return TowerCost(**load_or_compute("tower-cost", [kind, key], learn))


def tower_flops(tower: Tower[Any]) -> int:
    """Count a tower's forward FLOPs for one example of full size; the tower is on the meta device."""
    inputs = [given.to("meta") for given in tower.dummy_inputs(1)]
    return _counted(lambda: tower(*inputs))


def fusion_flops(model: TaskModel, text: TowerShape, vision: TowerShape) -> int:
    """Count the FLOPs of encoder and head for one example, as published; the model is on the meta device."""
    tokens = {"text": text.tokens, "image": vision.tokens}
    spared = sum(
        manager.skipped_flops(tokens[own], tokens["image" if own == "text" else "text"])
        for (own, _), manager in model.encoder.managers()
    )
    return _counted(lambda: _fuse(model, text, vision)) + model.task.images * spared


def language_model_flops(model: TaskModel, text: TowerShape, vision: TowerShape) -> int:
    """Count those of `fusion_flops` that a language model's layers and its output map take; 0 without one."""
    if not isinstance(model.encoder, LanguageModelEncoder):
        return 0
    network, counts = model.encoder.tower.network, [0]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        hooks = []
        for part in (*network.model.layers, network.lm_head):
            # before a part its FLOPs so far are taken off, behind it they are added with its own
            hooks.append(part.register_forward_pre_hook(lambda *_: counts.append(-counter.get_total_flops())))
            hooks.append(part.register_forward_hook(lambda *_: counts.append(counter.get_total_flops())))
        try:
            _fuse(model, text, vision)
        finally:
            for hook in hooks:
                hook.remove()
    return sum(counts)


def _fuse(model: TaskModel, text: TowerShape, vision: TowerShape) -> object:
    given = [
        Features(tuple(torch.empty(inputs, shape.tokens, width, device="meta") for width in shape.widths))
        for shape, inputs in ((text, 1), (vision, model.task.images))
    ]
    return model(*given, continuation=longest_caption(model))


def longest_caption(model: TaskModel) -> torch.Tensor | None:
    """Return the longest caption that may be learnt, on the meta device: [1, S]; None where there is none."""
    if not model.task.language_model or not isinstance(model.encoder, LanguageModelEncoder):
        return None
    return torch.zeros(1, model.encoder.config.answer_tokens, dtype=torch.long, device="meta")


def head_flops(model: TaskModel, text: TowerShape, vision: TowerShape) -> int:
    """Count the FLOPs of the heads of pre-training and retrieval for one example; the model is on the meta device."""
    words, contrast = getattr(model.task, "mlm", None), getattr(model.task, "itc", None)
    total = 0
    if words is not None and getattr(model.task, "itm", None) is not None:
        states = torch.empty(1, text.tokens, model.encoder.width, device="meta")
        total += _counted(lambda: words(states))
    if contrast is not None:
        given = [
            Features(tuple(torch.empty(1, shape.tokens, width, device="meta") for width in shape.widths))
            for shape in (text, vision)
        ]
        total += _counted(lambda: contrast(*given))
    return total


def _counted(run: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    total: int = counter.get_total_flops()
    return total
