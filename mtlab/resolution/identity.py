"""The id of a cell: a hash of everything that can change its results.

Hashed: the whole resolved configuration (never the difference from defaults: a changed default must not reuse old
results) without the seed and without options that cannot change a result. Then the version of each registered class in
use, the engine's version, and the content of weights and data.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mtlab.config.check import nested_schema
from mtlab.config.hashing import digest
from mtlab.config.nodes import lookup_entry, own_options
from mtlab.config.options import option_of
from mtlab.config.schema import NODES, RunConfig, is_multimodal, model_name, model_schema
from mtlab.errors import place_errors
from mtlab.resolution.nodes import node_entry, node_options
from mtlab.resolution.training_code import ENGINE_VERSION

UNRESOLVED = "unresolved"  #: stands for the digest of weights that cannot be had yet

MULTIMODAL_VERSION = 3  #: raise it when `model: mllm` with the same options gives other results

NEW_MANAGERS = "new_managers"  #: key of a planned `init_from`: the modalities whose managers start anew

_CONTENT = ("text", "vision", "data")  #: nodes that name weights or data outside the configuration


@dataclass(frozen=True)
class Identity:
    """A cell's id, and what it was made from (stored with every run)."""

    cell: str
    hashed: dict[str, Any]
    unresolved: tuple[str, ...] = ()  #: nodes whose content could not be had: the id is provisional


def cell_identity(config: Mapping[str, Any]) -> Identity:
    """Compute the id of a resolved cell whose length is in steps."""
    from mtlab.towers.build import KINDS, tower_shape  # imports torch

    entries = {node: node_entry(node, config[node]) for node in NODES}
    digests = {node: content_digest(node, config[node]) for node in _CONTENT}
    start = config["init_from"]
    if isinstance(start, Mapping) and "checkpoint" in start:
        digests["init_from"] = start["digest"]
        new = {key: value for key, value in start.items() if key == NEW_MANAGERS}
        config = {**config, "init_from": {"checkpoint": start["digest"]} | new}  # content, not its path
    kept = _identity_options(config, RunConfig)
    kept["model"] = _model_options(config["model"])
    for node, entry in entries.items():
        own = _identity_options(own_options(config[node]), entry.config)
        # Where content with a digest lies is left out: the same weights elsewhere are the same.
        omitted = entry.cls.location_options if digests.get(node) is not None else ()
        kept[node] = {"name": entry.name} | {option: value for option, value in own.items() if option not in omitted}
    for kind in KINDS:
        if "layers" in kept[kind]:  # whichever way they are written
            kept[kind]["layers"] = list(tower_shape(kind, config[kind]).levels)
    hashed = {
        "config": kept,
        "versions": dict(sorted(class_versions(config).items())),
        "engine": ENGINE_VERSION,
        "digests": {name: value if value is not None else UNRESOLVED for name, value in sorted(digests.items())},
    }
    return Identity(digest(hashed), hashed, tuple(sorted(name for name, value in digests.items() if value is None)))


def class_versions(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the versions of the registered classes that a resolved cell uses: "manager:NAME" → version."""
    versions = {f"{node}:{(entry := node_entry(node, config[node])).name}": entry.version for node in NODES}
    if _calibrates_what_it_loads(config):
        versions["init_from"] = 2
    if config["train"]["precision"] == "bf16_weights":
        versions["train:precision"] = 3  # convolutions that standardise their weights hold them in float32
    elif config["train"]["precision"] == "bf16" and config["task"]["name"] == "retrieval":
        versions["train:precision"] = 2  # pairs are matched in full precision
    if is_multimodal(config):
        versions[f"model:{model_name(config['model'])}"] = MULTIMODAL_VERSION
    return versions | _augment_version(config)


def _calibrates_what_it_loads(config: Mapping[str, Any]) -> bool:
    """Return whether the levels that are standardised depend on weights that a run starts from."""
    towers = [config[kind] for kind in ("text", "vision")]
    changes = any(tower.get("trainable") or tower.get("gate") for tower in towers)
    return config["init_from"] is not None and config["model"]["standardise"] and changes


def plugin_digests(config: Mapping[str, Any]) -> dict[str, str]:
    """Digest the source of the plug-ins' classes that a resolved cell uses: "manager:NAME" → digest.

    No part of a cell's id, which goes by the class's version. Stored with each run, so that `mtlab plan` can report a
    change.
    """
    entries = {node: node_entry(node, config[node]) for node in NODES}
    return {f"{node}:{entry.name}": entry.source for node, entry in entries.items() if entry.source is not None}


def clear_digests() -> None:
    """Forget the digests of weights and data, as files may have changed, or been downloaded."""
    _content_digest.cache_clear()


def content_digest(node: str, config: Mapping[str, Any]) -> str | None:
    """Digest the weights of a tower, or the examples of a data set; None if they are not available yet.

    Raises:
        UserError: a file is missing or unreadable; the key says where.

    """
    return _content_digest(node, json.dumps(config, sort_keys=True))


@lru_cache(maxsize=256)
def _content_digest(node: str, text: str) -> str | None:
    config = json.loads(text)
    with place_errors(key=node):
        content: str | None = node_entry(node, config).cls.digest(node_options(node, config))
    return content


def _identity_options(config: Mapping[str, Any], schema: type[Any]) -> dict[str, Any]:
    """Keep the options of a configuration that can change a result."""
    kept: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        if option_of(field).identity:
            inner, value = nested_schema(schema, field.name), config[field.name]
            kept[field.name] = _identity_options(value, inner) if inner is not None else value
    return kept


def _model_options(node: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the options of the section `model`, with its name where it has one: two towers have none."""
    named = {"name": node["name"]} if "name" in node else {}
    return named | _identity_options(node, model_schema(node))


def _augment_version(config: Mapping[str, Any]) -> dict[str, int]:
    node = config["train"].get("augment")
    if node is None:
        return {}
    from mtlab.data.transforms.base import TRANSFORMS

    return {f"transform:{node['name']}": lookup_entry(TRANSFORMS, node, "train.augment").version}
