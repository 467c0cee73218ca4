"""Uni-modal towers: pre-trained apart, each of their levels an expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mtlab.config.nodes import lookup_options
from mtlab.config.registry import Entry
from mtlab.errors import UserError
from mtlab.towers.base import TEXT_TOWERS, VISION_TOWERS, TokenGrid, Tower, TowerShape
from mtlab.towers.levels import offered_levels

TowerKind = Literal["text", "vision"]
KINDS: tuple[TowerKind, ...] = ("text", "vision")


def is_cached(kind: TowerKind, config: Mapping[str, Any]) -> bool:
    """Tell whether a run's tower is read from the expert cache; else it runs in every step."""
    return bool(config["cache"]["enabled"]) and not config[kind]["trainable"]


def tower_node(kind: TowerKind, node: Mapping[str, Any]) -> tuple[Entry[Tower[Any]], Any]:
    """Look up the registered tower that the node names, and check its options.

    Raises:
        UserError: no tower of that name, unknown option, wrong type, value out of range; the key says where.

    """
    return lookup_options(TEXT_TOWERS if kind == "text" else VISION_TOWERS, node, kind)


def tower_shape(kind: TowerKind, node: Mapping[str, Any]) -> TowerShape:
    """Tell the offered levels and their sizes without loading weights.

    Raises:
        UserError: as `tower_node`; the model cannot be found; `layers` names a level that it lacks; `gate` with levels
            of several widths, or with a single one.

    """
    entry, config = tower_node(kind, node)
    try:
        info = entry.cls.describe(config)
        levels = offered_levels(config.layers, info.depth)
    except UserError as error:
        raise error.at(key=kind) from None
    widths = tuple(info.widths[level - 1] for level in levels)
    if config.gate and (len(levels) < 2 or len(set(widths)) > 1):
        found = f"widths {', '.join(map(str, widths))}" if len(levels) > 1 else "one level"
        raise UserError(f"needs at least two offered levels, all of one width; found {found}", key=f"{kind}.gate")
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
    )


def tower_digest(kind: TowerKind, node: Mapping[str, Any]) -> str | None:
    """Identify the tower's weights by content; None where they cannot be had yet.

    Raises:
        UserError: as `tower_node`; a weights file is missing or unreadable.

    """
    entry, config = tower_node(kind, node)
    try:
        return entry.cls.digest(config)
    except UserError as error:
        raise error.at(key=kind) from None


def fetch_tower(kind: TowerKind, node: Mapping[str, Any]) -> None:
    """Download the tower's weights if they come from a hub and are not on this disk: then they have a digest.

    Raises:
        UserError: as `tower_node`; no such model, or the hub cannot be reached.

    """
    entry, config = tower_node(kind, node)
    try:
        entry.cls.fetch(config)
    except UserError as error:
        raise error.at(key=kind) from None


def token_strings(node: Mapping[str, Any], texts: Sequence[str]) -> list[list[str]] | None:
    """Name the tokens of texts as the text tower of a node reads them, see `Tower.pieces`."""
    entry, config = tower_node("text", node)
    return entry.cls.pieces(config, texts)


def token_grid(node: Mapping[str, Any]) -> TokenGrid | None:
    """Say how the image tokens of a node's vision tower lie in the image, see `Tower.grid`."""
    entry, config = tower_node("vision", node)
    return entry.cls.grid(config)


def build_tower(kind: TowerKind, node: Mapping[str, Any], *, weights: bool = True) -> Tower[Any]:
    """Build the tower of a node: a frozen one in evaluation mode and without gradients.

    Args:
        kind: "text" or "vision".
        node: `{name: …, options…}`.
        weights: load the weights; False gives the architecture alone, also under `torch.device("meta")`.

    Raises:
        UserError: as `tower_shape`; the weights cannot be read, or hold code.

    """
    entry, config = tower_node(kind, node)
    try:
        tower = entry.cls(config, weights=weights)
    except UserError as error:
        raise error.at(key=kind) from None
    return tower.requires_grad_(config.trainable).train(config.trainable)
