"""The levels of a tower that are offered to the managers: `all`, `top3`, or a list of levels."""

from __future__ import annotations

import re
from typing import Any

from mtlab.errors import UserError

EXPECTED = "expected all, topN (as in top3), or a list of levels (1 is the lowest, -1 the highest)"


def offered_levels(layers: Any, depth: int) -> tuple[int, ...]:
    """Convert the option `layers` to absolute levels, 1-based and ascending.

    >>> offered_levels("top3", 6)
    (4, 5, 6)
    >>> offered_levels([-1, 2], 6)
    (2, 6)

    Raises:
        UserError: it has another form, or names a missing level or one level twice; its key is `layers`.

    """
    if layers == "all":
        return tuple(range(1, depth + 1))
    if isinstance(layers, str):
        match = re.fullmatch(r"top([0-9]+)", layers)
        if match is None:
            raise UserError(f"{EXPECTED}, found {layers!r}", key="layers")
        count = int(match[1])
        if not 1 <= count <= depth:
            raise UserError(f"{layers} asks for {count} levels; the tower has {depth}", key="layers")
        return tuple(range(depth - count + 1, depth + 1))
    if not isinstance(layers, list | tuple) or not layers:
        raise UserError(f"{EXPECTED}, found {layers!r}", key="layers")
    levels = [_absolute(level, depth) for level in layers]
    repeated = {level for level in levels if levels.count(level) > 1}
    if repeated:
        raise UserError(f"level {min(repeated)} is listed twice in {list(layers)}", key="layers")
    return tuple(sorted(levels))


def _absolute(level: Any, depth: int) -> int:
    if isinstance(level, bool) or not isinstance(level, int):
        raise UserError(f"{EXPECTED}, found {level!r} in the list", key="layers")
    if level == 0 or abs(level) > depth:
        raise UserError(f"no level {level}; the tower has 1 to {depth} (or -{depth} to -1)", key="layers")
    return level if level > 0 else depth + 1 + level
