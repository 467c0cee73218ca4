"""Search spaces as managers declare them: option → distribution, as plain data.

    {"float": [0.1, 2.0], "log": True}    a number between the bounds; with `log`, uniform in its logarithm
    {"int": [1, 8]}                       a whole number, bounds included; `log` as above
    {"choice": ["scalar", "vector"]}      one of these

Numbers may also have a `step`, from the lower bound up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mtlab.errors import UserError

KINDS = ("float", "int", "choice")


def corners(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield options to try before a space is searched: each option at each of its ends, the rest at their defaults.

    Raises:
        UserError: a distribution is not one; its key is the option.

    """
    for option, distribution in space.items():
        yield from ({option: value} for value in ends(option, distribution))


def ends(option: str, distribution: Any) -> list[Any]:
    """Return every choice, or the bounds.

    Raises:
        UserError: as `corners`.

    """
    kinds = [kind for kind in KINDS if isinstance(distribution, Mapping) and kind in distribution]
    if len(kinds) != 1:
        raise UserError(f"expected one of {', '.join(KINDS)}, found {distribution!r}", key=option)
    kind, values = kinds[0], distribution[kinds[0]]
    if unknown := set(distribution) - {kind, *(() if kind == "choice" else ("log", "step"))}:
        raise UserError(f"{kind} takes no {', '.join(sorted(unknown))}", key=option)
    if not isinstance(values, list) or not values:
        raise UserError(f"{kind}: expected a list, found {values!r}", key=option)
    if kind == "choice":
        return values
    _refuse_bounds(option, kind, values, distribution)
    return values


def _refuse_bounds(option: str, kind: str, values: list[Any], distribution: Mapping[str, Any]) -> None:
    allowed = int if kind == "int" else int | float
    numbers = [value for value in values if isinstance(value, allowed) and not isinstance(value, bool)]
    if len(values) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)) or numbers[0] >= numbers[1]:
        raise UserError(f"{kind}: expected a lower and a higher bound, found {values!r}", key=option)
    if distribution.get("log") and numbers[0] <= 0:
        raise UserError(f"log: expected bounds above 0, found {values!r}", key=option)
    step = distribution.get("step", 1)
    if not isinstance(step, allowed) or isinstance(step, bool) or not 0 < step < math.inf:
        raise UserError(f"step: expected a number above 0, found {step!r}", key=option)
