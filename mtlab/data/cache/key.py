"""What makes two entries of the expert cache the same: everything that can change a stored number."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.config.check import to_plain
from mtlab.config.nodes import lookup_options
from mtlab.config.options import option_of
from mtlab.config.schema import CacheConfig
from mtlab.data.base import DATASETS
from mtlab.errors import UserError
from mtlab.towers.base import TowerOptions
from mtlab.towers.build import TowerKind, fetch_tower, tower_digest, tower_node, tower_shape
from mtlab.towers.loading.disk_cache import content_hash

FORMAT = 1  #: of the folder of an entry
CHUNK = 128  #: items in a chunk: the unit of resuming, claiming and checking
BATCH = 16  #: items in one run of the tower; its outputs' last bits depend on it


@dataclass(frozen=True)
class CacheKey:
    """The name of an entry and what it was made from."""

    name: str  #: 32 hexadecimal digits
    made_from: Mapping[str, Any]  #: plain data


def cache_key(
    kind: TowerKind, node: Mapping[str, Any], dataset_node: Mapping[str, Any], cache: CacheConfig
) -> CacheKey:
    """Name the entry for what a tower gives on a data set; nothing is loaded or computed.

    Raises:
        UserError: a wrong option, or weights that cannot be had.

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
    # What every tower has (layers, training) changes no level; where weights lie does not either: their digest counts.
    left_out = {field.name for field in dataclasses.fields(TowerOptions)} | entry.cls.location_options
    return {
        "kind": kind,
        "name": entry.name,
        "version": entry.version,
        "options": {name: value for name, value in _options(config).items() if name not in left_out},
        "levels": list(tower_shape(kind, node).levels),
        "weights": _weights(kind, node),
    }


def _weights(kind: TowerKind, node: Mapping[str, Any]) -> str:
    digest = tower_digest(kind, node)
    if digest is None:
        fetch_tower(kind, node)
        digest = tower_digest(kind, node)
    if digest is None:
        raise UserError("the weights cannot be had: there is nothing to compute features with", key=kind)
    return digest


def _data(node: Mapping[str, Any]) -> dict[str, Any]:
    entry, config = lookup_options(DATASETS, node, "data")
    elsewhere = entry.cls.location_options
    return {
        "name": entry.name,
        "version": entry.version,
        "options": {name: value for name, value in _options(config).items() if name not in elsewhere},
        "digest": entry.cls.digest(config),
    }


def _options(config: Any) -> dict[str, Any]:
    silent = {field.name for field in dataclasses.fields(config) if not option_of(field).identity}
    return {name: value for name, value in to_plain(config).items() if name not in silent}
