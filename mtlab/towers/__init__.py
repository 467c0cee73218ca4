"""Uni-modal towers: pre-trained apart, each of their levels an expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mtlab.config.check import checked
from mtlab.errors import UserError
from mtlab.registry import Entry
from mtlab.towers.base import TEXT_TOWERS, VISION_TOWERS, Tower, TowerShape
from mtlab.towers.layers import offered

__all__ = [
    "TowerKind",
    "build_tower",
    "fetch_tower",
    "offered",
    "tower_config",
    "tower_digest",
    "tower_entry",
    "tower_shape",
]

TowerKind = Literal["text", "vision"]


def tower_entry(kind: TowerKind, node: Mapping[str, Any]) -> Entry[Tower[Any]]:
    """Look up the registered tower that the node names.

    Raises:
        UserError: no name, or an unknown one (the nearest is offered); the key says where.

    """
    if "name" not in node:
        raise UserError("names no tower; write `name:`", key=kind)
    try:
        return (TEXT_TOWERS if kind == "text" else VISION_TOWERS).get(node["name"])
    except UserError as error:
        raise error.at(key=f"{kind}.name") from None


def tower_config(kind: TowerKind, node: Mapping[str, Any]) -> Any:
    """Check the node's options and return the tower's `Config`.

    Raises:
        UserError: unknown tower or option, wrong type, value out of range.

    """
    entry = tower_entry(kind, node)
    try:
        return checked(entry.config, {key: value for key, value in node.items() if key != "name"})
    except UserError as error:
        raise error.at(key=kind) from None


def tower_shape(kind: TowerKind, node: Mapping[str, Any]) -> TowerShape:
    """Tell the offered levels and their sizes without loading weights.

    Raises:
        UserError: as `tower_config`; the model cannot be found; `layers` names a level that it lacks.

    """
    entry, config = tower_entry(kind, node), tower_config(kind, node)
    try:
        info = entry.cls.describe(config)
        levels = offered(config.layers, info.depth)
    except UserError as error:
        raise error.at(key=kind) from None
    return TowerShape(
        widths=tuple(info.widths[level - 1] for level in levels),
        levels=levels,
        depth=info.depth,
        tokens=info.tokens,
        class_token=info.class_token,
        positions=info.positions,
    )


def tower_digest(kind: TowerKind, node: Mapping[str, Any]) -> str | None:
    """Identify the tower's weights by content; None where they cannot be had yet.

    Raises:
        UserError: as `tower_config`; a weights file is missing or unreadable.

    """
    entry, config = tower_entry(kind, node), tower_config(kind, node)
    try:
        return entry.cls.digest(config)
    except UserError as error:
        raise error.at(key=kind) from None


def fetch_tower(kind: TowerKind, node: Mapping[str, Any]) -> None:
    """Download the tower's weights if they come from a hub and are not on this disk: then they have a digest.

    Raises:
        UserError: as `tower_config`; no such model, or the hub cannot be reached.

    """
    entry, config = tower_entry(kind, node), tower_config(kind, node)
    try:
        entry.cls.fetch(config)
    except UserError as error:
        raise error.at(key=kind) from None


def build_tower(kind: TowerKind, node: Mapping[str, Any], *, weights: bool = True) -> Tower[Any]:
    """Build the tower of a node: a frozen one in evaluation mode and without gradients.

    Args:
        kind: "text" or "vision".
        node: `{name: …, options…}`.
        weights: load the weights; False gives the architecture alone, also under `torch.device("meta")`.

    Raises:
        UserError: as `tower_shape`; the weights cannot be read, or hold code.

    """
    entry, config = tower_entry(kind, node), tower_config(kind, node)
    try:
        tower = entry.cls(config, weights=weights)
    except UserError as error:
        raise error.at(key=kind) from None
    return tower.requires_grad_(config.trainable).train(config.trainable)
