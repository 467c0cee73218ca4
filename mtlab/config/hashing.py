"""What makes two runs the same: the id of a cell, a hash of everything that can change its results.

Hashed: the whole resolved configuration (never the difference from defaults: a changed default must not reuse old
results) without the seed and without fields that cannot change a result. Then the version of each registered class in
use, the engine's version, and the content of weights and data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.config.check import nested_schema
from mtlab.config.nodes import own_options
from mtlab.config.options import option_of

UNRESOLVED = "unresolved"  #: stands for the digest of weights that cannot be had yet


@dataclass(frozen=True)
class Identity:
    """A cell's id, and what it was made from (stored with every run)."""

    cell: str
    hashed: dict[str, Any]
    unresolved: tuple[str, ...] = ()  #: names whose content could not be had: the id is provisional


def canonical_json(value: Any) -> str:
    """Write plain data in the one way that equal data is written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any, length: int = 12) -> str:
    """Hash plain data to `length` hexadecimal digits."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=32).hexdigest()[:length]


def identify(
    config: Mapping[str, Any],
    schema: type[Any],
    node_schemas: Mapping[str, type[Any]],
    versions: Mapping[str, int],
    engine: int,
    digests: Mapping[str, str | None],
    locations: Mapping[str, Collection[str]],
) -> Identity:
    """Compute a cell's id.

    Args:
        config: the resolved configuration.
        schema: the dataclass of its sections.
        node_schemas: node → the dataclass of its options.
        versions: "manager:adaptive" → version of the registered class.
        engine: version of loop and encoder.
        digests: name → digest of weights or data outside the configuration; None where it cannot be had yet.
        locations: node → options that only say where digested content lies: the same weights elsewhere are the same.

    """
    kept = _identity_of(config, schema)
    for node, options in node_schemas.items():
        named = {"name": config[node]["name"]}
        elsewhere = locations.get(node, ()) if digests.get(node) is not None else ()
        own = _identity_of(own_options(config[node]), options)
        kept[node] = named | {option: value for option, value in own.items() if option not in elsewhere}
    unresolved = tuple(sorted(name for name, value in digests.items() if value is None))
    hashed = {
        "config": kept,
        "versions": dict(sorted(versions.items())),
        "engine": engine,
        "digests": {name: value if value is not None else UNRESOLVED for name, value in sorted(digests.items())},
    }
    return Identity(digest(hashed), hashed, unresolved)


def _identity_of(config: Mapping[str, Any], schema: type[Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        rule, value = option_of(field), config[field.name]
        if not rule.identity:
            continue
        inner = nested_schema(schema, field.name)
        kept[field.name] = _identity_of(value, inner) if inner is not None else value
    return kept
