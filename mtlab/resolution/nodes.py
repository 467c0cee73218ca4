"""The nodes of a configuration, `{name: …, options…}`, and the registered classes that they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from mtlab.config.check import hints
from mtlab.config.nodes import lookup_entry, lookup_options
from mtlab.config.options import option_of
from mtlab.config.registry import Entry, Registry
from mtlab.config.schema import MODELS, NAMED, NODES, RunConfig


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
    return {path for path, _ in _settings()}


def paths_without_effect() -> set[str]:
    """Return the dotted paths of settings that can change no result, so that they are no part of a cell's id."""
    settings = [*_settings()]
    return {path for path, effect in settings if not effect} - {path for path, effect in settings if effect}


def _settings() -> Iterator[tuple[str, bool]]:
    """Yield each path that some cell can have, and whether the setting can change a result."""
    for field in dataclasses.fields(RunConfig):
        effect = option_of(field).identity
        yield field.name, effect
        schemas: list[Any]
        if field.name in NODES:
            schemas = [entry.config for entry in registry(field.name)]
        elif field.name == "model":
            schemas = [*MODELS.values()]
        else:
            hint = hints(RunConfig)[field.name]
            schemas = [hint] if dataclasses.is_dataclass(hint) else []
        if field.name in NAMED:
            yield f"{field.name}.name", effect
        for schema in schemas:
            yield from _options(schema, field.name, effect=effect)


def _options(schema: Any, above: str, *, effect: bool) -> Iterator[tuple[str, bool]]:
    types = hints(schema)
    for field in dataclasses.fields(schema):
        path, changes = f"{above}.{field.name}", effect and option_of(field).identity
        yield path, changes
        if dataclasses.is_dataclass(types[field.name]):
            yield from _options(types[field.name], path, effect=changes)
