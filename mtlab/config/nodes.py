"""Looking up a node of the configuration, `{name: …, options…}`: its registered class and its checked options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from mtlab.config.check import check_config_once
from mtlab.config.registry import Entry, Registry
from mtlab.errors import UserError, place_errors

T = TypeVar("T")


def own_options(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node without its name."""
    return {option: value for option, value in node.items() if option != "name"}


def lookup_entry(registry: Registry[T], node: Mapping[str, Any], key: str) -> Entry[T]:
    """Return the registered entry that a node names.

    Raises:
        UserError: no name, or an unknown one (the nearest is offered); the key is below `key`.

    """
    name = node.get("name")
    if not isinstance(name, str):
        raise UserError(f"needs a name; known: {', '.join(entry.name for entry in registry)}", key=key)
    with place_errors(key=f"{key}.name" if key else "name"):
        return registry.get(name)


def lookup_options(registry: Registry[T], node: Mapping[str, Any], key: str) -> tuple[Entry[T], Any]:
    """Return the registered entry that a node names, and the node's options as the dataclass that it declares.

    Raises:
        UserError: as `lookup_entry`; unknown option, wrong type, value out of range.

    """
    entry = lookup_entry(registry, node, key)
    with place_errors(key=key):
        return entry, check_config_once(entry.config, own_options(node))
