"""Conditions on settings: `when` and `unless`, of an axis or of a parameter of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtlab.config.schema import NAMED, WHOLE
from mtlab.errors import UserError

CONDITIONS = ("when", "unless")


def spell_out(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions by path, so that one overrides another: `manager: X` and `manager: {name: X}` are of its name.

    >>> spell_out({"manager": "static", "train": {"length": {"steps": 6}}})
    {'manager.name': 'static', 'train.length.steps': 6}

    Raises:
        UserError: two of them are of one path, which is the key.

    """
    found: dict[str, Any] = {}
    for path, value in conditions.items():
        if isinstance(value, Mapping) and value and (path in WHOLE or ("." not in path and path != "init_from")):
            written = spell_out({f"{path}.{inner}": each for inner, each in value.items()})
        elif path in NAMED and not (isinstance(value, list) and any(isinstance(each, Mapping) for each in value)):
            written = {f"{path}.name": value}
        else:
            written = {path: value}
        if twice := next((each for each in written if each in found), None):
            raise UserError("is given twice, by path and within its section: keep one", key=twice)
        found |= written
    return found
