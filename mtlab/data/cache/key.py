"""The key of an entry of the expert cache: a hash of all settings, weights and data that decide what is stored.

Not in it: the device, and the versions of libraries; the index holds these for information.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.config.check import to_plain
from mtlab.config.nodes import lookup_options
from mtlab.config.options import option_of
from mtlab.config.registry import Entry
from mtlab.config.schema import CacheConfig
from mtlab.data.base import DATASETS
from mtlab.disk_cache import content_hash
from mtlab.towers.base import TowerOptions
from mtlab.towers.build import TowerKind, fetched_digest, tower_node, tower_shape

FORMAT = 1  #: of the folder of an entry
CHUNK = 128  #: items in a chunk: the unit of resuming, locking and checking
BATCH = 16  #: items in a forward pass of the tower, on which the last bits of its outputs depend


@dataclass(frozen=True)
class CacheKey:
    """The name of an entry and what it was made from."""

    name: str  #: 32 hexadecimal digits
    made_from: Mapping[str, Any]  #: plain data


def cache_key(
    kind: TowerKind, node: Mapping[str, Any], dataset_node: Mapping[str, Any], cache: CacheConfig
) -> CacheKey:
    """Return the key of a tower's features on a data set; nothing is loaded or computed.

    Raises:
        UserError: an option is wrong, or weights are unavailable.

    """
    made_from = {
        "format": FORMAT,
        "tower": _tower(kind, node),
        "data": _data(dataset_node),
        "dtype": cache.dtype,
        "chunk": CHUNK,
        "batch": BATCH,
    }
    return CacheKey(content_hash(made_from), made_from)


def _tower(kind: TowerKind, node: Mapping[str, Any]) -> dict[str, Any]:
    entry, config = tower_node(kind, node)
    # Options of all towers (layers, training) change no level, and the digest stands for the location of the weights.
    ignored = {field.name for field in dataclasses.fields(TowerOptions)} | entry.cls.location_options
    return {
        "kind": kind,
        "name": entry.name,
        "version": entry.version,
        "options": {name: value for name, value in _options(config).items() if name not in ignored},
        "levels": list(tower_shape(kind, node).levels),
        "weights": fetched_digest(kind, node),
    } | _source(entry)


def _data(node: Mapping[str, Any]) -> dict[str, Any]:
    entry, config = lookup_options(DATASETS, node, "data")
    ignored = entry.cls.location_options
    return {
        "name": entry.name,
        "version": entry.version,
        "options": {name: value for name, value in _options(config).items() if name not in ignored},
        "digest": entry.cls.digest(config),
    } | _source(entry)


def _source(entry: Entry[Any]) -> dict[str, str]:
    """Return the digest of a plug-in's source: ideas are edited more often than their version is raised."""
    return {} if entry.source is None else {"source": entry.source}


def _options(config: Any) -> dict[str, Any]:
    ignored = {field.name for field in dataclasses.fields(config) if not option_of(field).identity}
    return {name: value for name, value in to_plain(config).items() if name not in ignored}
