"""Where managers stand in a language model that reads images, checked without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtlab.config.nodes import lookup_options
from mtlab.config.schema import MultimodalConfig
from mtlab.errors import UserError, place_errors
from mtlab.managers.base import MANAGERS, Place
from mtlab.managers.connectors.base import Connector
from mtlab.model.base import ManagerKey
from mtlab.model.mllm.offered import offered_rows
from mtlab.towers.base import TowerShape


def injection_places(
    model: MultimodalConfig, node: Mapping[str, Any], text: TowerShape, vision: TowerShape
) -> dict[int, Place]:
    """Return the place of the manager in front of each chosen decoder layer, ascending.

    The depth of a place counts from the first layer, whether a manager stands there or not.

    Raises:
        UserError: the text tower is no language model, the layers do not exist, or the manager refuses its place.

    """
    layers, decoder = sorted(model.inject.layers), text.decoder_layers
    if not decoder:
        raise UserError(
            "`model: mllm` needs a causal language model: set text to {name: causal_lm, model: …}", key="text.name"
        )
    if vision.gate:
        raise UserError("belongs to two towers: leave it out with `model: mllm`", key="vision.gate")
    if not layers or layers[-1] >= decoder:
        raise UserError(
            f"expected layers of the language model, 0 to {decoder - 1}, found {list(model.inject.layers)}",
            key="model.inject.layers",
        )
    if len(set(layers)) < len(layers):
        raise UserError(f"names a layer twice: {list(model.inject.layers)}", key="model.inject.layers")
    entry, config = lookup_options(MANAGERS, node, "manager")
    if issubclass(entry.cls, Connector) and layers[0]:
        raise UserError(f"{entry.name} joins levels in front of layer 0 alone: add it", key="model.inject.layers")
    stack = sorted({0, *layers})
    experts = len(offered_rows(model, vision, first=False).rows)
    found = {}
    for layer in layers:
        place = Place(
            width=text.widths[-1],
            experts=experts,
            depth=stack.index(layer),
            layers=len(stack),
            modality="image",
            other_experts=1,
            class_token=vision.class_token,
            grid=vision.grid,
        )
        with place_errors(key="manager"):
            entry.cls.check(config, place)
        found[layer] = place
    return found


def injected_levels(
    model: MultimodalConfig, node: Mapping[str, Any], text: TowerShape, vision: TowerShape
) -> dict[ManagerKey, list[int]]:
    """Return which levels of the vision tower (1-based) the manager in front of each decoder layer reads.

    Raises:
        UserError: as `injection_places`.

    """
    entry, config = lookup_options(MANAGERS, node, "manager")
    found: dict[ManagerKey, list[int]] = {}
    for layer, place in injection_places(model, node, text, vision).items():
        rows = offered_rows(model, vision, first=not layer).rows
        found["image", layer] = [vision.levels[rows[expert - 1]] for expert in entry.cls.experts_used(config, place)]
    return found
