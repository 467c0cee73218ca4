"""Descriptions of towers, cached on disk: to make one builds the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from mtlab.disk_cache import library_version, load_or_compute
from mtlab.towers.base import TowerInfo


def load_or_describe(subject: str, key: Any, libraries: Iterable[str], compute: Callable[[], TowerInfo]) -> TowerInfo:
    """Cache a tower's description, which also depends on the versions of `libraries` and on what is described."""
    versioned = {"options": key, "versions": {library: library_version(library) for library in libraries}}
    versioned["fields"] = [field.name for field in fields(TowerInfo)]
    fact = load_or_compute(subject, versioned, lambda: vars(compute()))
    return TowerInfo(**{**fact, "widths": tuple(fact["widths"])})
