"""Looking up, describing and building the tower that a configuration node names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mtlab.config.nodes import lookup_options
from mtlab.config.registry import Entry
from mtlab.errors import UserError, place_errors
from mtlab.towers.base import TEXT_TOWERS, VISION_TOWERS, TokenGrid, Tower, TowerShape
from mtlab.towers.levels import offered_levels
from mtlab.towers.loading.licences import WeightsOrigin
from mtlab.towers.lora import add_lora, check_lora

TowerKind = Literal["text", "vision"]
KINDS: tuple[TowerKind, ...] = ("text", "vision")


def is_cached(kind: TowerKind, config: Mapping[str, Any]) -> bool:
    """Return True if a run reads the tower's features from the expert cache; else the tower runs in every step."""
    enabled = bool(config["cache"]["enabled"]) and not config[kind]["trainable"]
    return enabled and tower_node(kind, config[kind])[0].cls.cacheable


def tower_node(kind: TowerKind, node: Mapping[str, Any]) -> tuple[Entry[Tower[Any]], Any]:
    """Look up the registered tower of a node and check its options.

    Raises:
        UserError: no tower of that name, unknown option, wrong type, value out of range, adapters on a frozen tower
            or without peft; the key says where.

    """
    entry, config = lookup_options(TEXT_TOWERS if kind == "text" else VISION_TOWERS, node, kind)
    with place_errors(key=kind):
        check_lora(config)
    return entry, config


def tower_shape(kind: TowerKind, node: Mapping[str, Any]) -> TowerShape:
    """Return the offered levels and their sizes without loading weights.

    Raises:
        UserError: as `tower_node`; the model cannot be found; `layers` names a missing level; `gate` needs several
            levels of one width.

    """
    entry, config = tower_node(kind, node)
    with place_errors(key=kind):
        info, grid = entry.cls.describe(config), entry.cls.grid(config)
        levels = offered_levels(config.layers, info.depth)
    widths = tuple(info.widths[level - 1] for level in levels)
    if config.gate and (len(levels) < 2 or len(set(widths)) > 1):
        offer = f"widths {', '.join(map(str, widths))}" if len(levels) > 1 else "one level"
        raise UserError(f"needs at least two offered levels, all of one width; found {offer}", key=f"{kind}.gate")
    return TowerShape(
        widths=widths,
        levels=levels,
        depth=info.depth,
        tokens=info.tokens,
        class_token=info.class_token,
        positions=info.positions,
        vocabulary=info.vocabulary,
        gate=config.gate,
        mask_token=info.mask_token,
        word_pieces=info.word_pieces,
        decoder_layers=info.decoder_layers,
        grid=grid,
    )


def tower_digest(kind: TowerKind, node: Mapping[str, Any]) -> str | None:
    """Hash the tower's weights; None if they are not available yet.

    Raises:
        UserError: as `tower_node`; a weights file is missing or unreadable.

    """
    entry, config = tower_node(kind, node)
    with place_errors(key=kind):
        return entry.cls.digest(config)


def tower_origin(kind: TowerKind, node: Mapping[str, Any]) -> WeightsOrigin | None:
    """Say where the tower's weights come from, and their licence; None for random weights of its own.

    Raises:
        UserError: as `tower_digest`.

    """
    entry, config = tower_node(kind, node)
    with place_errors(key=kind):
        return entry.cls.origin(config)


def fetch_tower(kind: TowerKind, node: Mapping[str, Any]) -> None:
    """Download the tower's weights from a hub, unless they are on this disk.

    Raises:
        UserError: as `tower_node`; there is no such model, or the hub cannot be reached.

    """
    entry, config = tower_node(kind, node)
    with place_errors(key=kind):
        entry.cls.fetch(config)


def norms_batches(kind: TowerKind, node: Mapping[str, Any]) -> bool:
    """Return whether the tower is trained and has batch norm: an example then depends on the others of its batch.

    Raises:
        UserError: as `tower_node`.

    """
    return bool(node["trainable"]) and _has_batch_norm(kind, json.dumps(node, sort_keys=True))


@lru_cache(maxsize=256)
def _has_batch_norm(kind: TowerKind, node: str) -> bool:
    with torch.device("meta"):
        modules = build_tower(kind, json.loads(node), weights=False).modules()
    return any(isinstance(module, _BatchNorm) for module in modules)


def checkpointing_problem(kind: TowerKind, node: Mapping[str, Any]) -> str | None:
    """Return why a trained tower cannot compute its activations again; None: it can, or is frozen.

    Raises:
        UserError: as `tower_node`.

    """
    return _checkpointing_problem(kind, json.dumps(node, sort_keys=True)) if node["trainable"] else None


@lru_cache(maxsize=256)
def _checkpointing_problem(kind: TowerKind, node: str) -> str | None:
    with torch.device("meta"):
        tower = build_tower(kind, json.loads(node), weights=False)
    try:
        tower.enable_gradient_checkpointing()
    except UserError as error:
        return error.problem
    return None


def fetched_digest(kind: TowerKind, node: Mapping[str, Any]) -> str:
    """Hash the tower's weights, which are downloaded from a hub unless they are on this disk.

    Raises:
        UserError: as `tower_digest`; or the weights are unavailable.

    """
    digest = tower_digest(kind, node)
    if digest is None:
        fetch_tower(kind, node)
        digest = tower_digest(kind, node)
    if digest is None:
        raise UserError("the weights are not available", key=kind)
    return digest


def token_strings(node: Mapping[str, Any], texts: Sequence[str]) -> list[list[str]] | None:
    """Return the tokens of texts as strings, see `Tower.token_strings`."""
    entry, config = tower_node("text", node)
    return entry.cls.token_strings(config, texts)


def token_grid(node: Mapping[str, Any]) -> TokenGrid | None:
    """Return the grid of the image tokens of a node's vision tower, see `Tower.grid`."""
    entry, config = tower_node("vision", node)
    return entry.cls.grid(config)


def build_tower(kind: TowerKind, node: Mapping[str, Any], *, weights: bool = True) -> Tower[Any]:
    """Build the tower of a node; a frozen one is in evaluation mode and without gradients.

    Args:
        kind: "text" or "vision".
        node: `{name: …, options…}`.
        weights: load the weights; False builds the architecture alone, also under `torch.device("meta")`.

    Raises:
        UserError: as `tower_shape`; the weights cannot be read, or hold code.

    """
    entry, config = tower_node(kind, node)
    with place_errors(key=kind):
        tower = entry.cls(config, weights=weights).requires_grad_(config.trainable)
        if config.lora_rank is not None:
            add_lora(tower)
    return tower.train(config.trainable)
