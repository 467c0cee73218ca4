"""What a search was begun with, held against what its file says now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mtlab.studies.axes import plain_label
from mtlab.sweeps.spec import Sweep


def refuse_other_definition(sweep: Sweep, label: str, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a search that was begun otherwise.

    Raises:
        UserError: it was; the first difference is named, and what can be done.

    """
    difference = next(differences(begun, json.loads(json.dumps(now))), None)
    if difference is None:
        return
    path, before, after = difference
    raise sweep.error(
        f"the search of {label} was begun with another {path}: {_told(before)}, now {_told(after)}; "
        f"a search cannot change on its way: set that back, or give the sweep another name "
        f"(finished runs are used again)",
        "name",
    )


def differences(left: Mapping[str, Any], right: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Go through what differs: path, left, right; None where one side has nothing."""
    for key in dict.fromkeys((*left, *right)):
        path = f"{at}.{key}" if at else str(key)
        one, other = left.get(key), right.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and not _distribution(one):
            yield from differences(one, other, path)
        elif one != other:
            yield path.removeprefix("variant.config."), one, other


def _distribution(node: Mapping[str, Any]) -> bool:
    return not {"float", "int", "choice"}.isdisjoint(node)


def _told(value: Any) -> str:
    return "nothing" if value is None else plain_label(value)
