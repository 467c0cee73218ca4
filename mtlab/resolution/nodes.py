"""The nodes of a configuration, `{name: …, options…}`, and the registered classes that they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtlab.config.check import hints
from mtlab.config.nodes import lookup_entry, lookup_options
from mtlab.config.registry import Entry, Registry
from mtlab.config.schema import MODELS, NODES, RunConfig


def registry(node: str) -> Registry[Any]:
    """Return the registry in which a node's `name` is looked up (imports torch)."""
    from mtlab.data.base import DATASETS
    from mtlab.managers.base import MANAGERS
    from mtlab.tasks.base import TASKS
    from mtlab.towers.base import TEXT_TOWERS, VISION_TOWERS

    registries: dict[str, Registry[Any]] = {
        "manager": MANAGERS,
        "text": TEXT_TOWERS,
        "vision": VISION_TOWERS,
        "task": TASKS,
        "data": DATASETS,
    }
    return registries[node]


def registries() -> list[Registry[Any]]:
    """Return every registry that a configuration names entries of (imports torch)."""
    return [registry(node) for node in NODES]


def node_entry(node: str, config: Mapping[str, Any]) -> Entry[Any]:
    """Return the registered class that a node names.

    Raises:
        UserError: there is none of that name.

    """
    return lookup_entry(registry(node), config, node)


def node_options(node: str, config: Mapping[str, Any]) -> Any:
    """Return a node's options as the dataclass that its class declares.

    Raises:
        UserError: an unknown option, a wrong type, or a value out of range.

    """
    return lookup_options(registry(node), config, node)[1]


def known_paths() -> set[str]:
    """Return every dotted path that some cell can have: sections, nodes, and the options of all registered classes."""
    paths: set[str] = set()
    for field in dataclasses.fields(RunConfig):
        paths.add(field.name)
        if field.name in NODES:
            paths.add(f"{field.name}.name")
            for entry in registry(field.name):
                paths |= {f"{field.name}.{option}" for option in _option_paths(entry.config)}
        elif field.name == "model":
            paths |= {f"model.{option}" for schema in MODELS.values() for option in ("name", *_option_paths(schema))}
        else:
            hint = hints(RunConfig)[field.name]
            if dataclasses.is_dataclass(hint):
                paths |= {f"{field.name}.{option}" for option in _option_paths(hint)}
    return paths


def _option_paths(schema: Any) -> set[str]:
    paths: set[str] = set()
    types = hints(schema)
    for field in dataclasses.fields(schema):
        paths.add(field.name)
        if dataclasses.is_dataclass(types[field.name]):
            paths |= {f"{field.name}.{inner}" for inner in _option_paths(types[field.name])}
    return paths
