"""Declaring an option of a configuration: its default, help, range, and role in a run's id."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_SIZE = 65_536  #: of a dimension of tensors; the products of much larger ones overflow in torch
MAX_IMAGE_SIZE = 8192  #: of an image, pixels
MAX_GRID = 256  #: of the side of a token grid, whose square is `MAX_SIZE` tokens
MAX_SEED = 2**53  #: torch takes somewhat larger ones, which no float tells apart


@dataclass(frozen=True)
class Option:
    """What `option` declares of a field beside its type and default."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Sequence[Any] | None = None
    identity: bool = True
    sizing: bool = True

    def problem(self, value: Any) -> str | None:
        """Return why `value` is not allowed, or None. Lists are checked item by item."""
        if value is None:
            return None
        if isinstance(value, list | tuple):
            return next((text for item in value if (text := self.problem(item))), None)
        if self.choices is not None and value not in self.choices:
            return f"{value!r} is not one of {', '.join(map(str, self.choices))}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        number = float(value)
        if not math.isfinite(number):
            return f"{value} is not a finite number"
        bounds: tuple[tuple[float | None, Callable[[float], bool], str], ...] = (
            (self.minimum, lambda bound: number >= bound, "at least"),
            (self.maximum, lambda bound: number <= bound, "at most"),
            (self.above, lambda bound: number > bound, "above"),
            (self.below, lambda bound: number < bound, "below"),
        )
        for bound, holds, words in bounds:
            if bound is not None and not holds(bound):
                shown = f"{bound:,.0f}" if float(bound).is_integer() else f"{bound:g}"
                return f"{value} is out of range: must be {words} {shown}"
        return None


def option(
    default: Any,
    help: str,  # noqa: A002 - reads as a word at every call
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[Any] | None = None,
    identity: bool = True,
    sizing: bool = True,
) -> Any:
    """Declare a field of a configuration dataclass.

    Args:
        default: the value where the user says nothing; a callable is called for a fresh one.
        help: one line for `mtlab list`, units included.
        minimum: smallest value allowed.
        maximum: largest value allowed.
        above: the value must be larger than this.
        below: the value must be smaller than this.
        choices: the values allowed, where a `Literal` type cannot say so.
        identity: False if the setting cannot change a run's results, so that it is no part of the run's id.
        sizing: False if neither parameters nor FLOPs depend on it, so that a search over it need not count them anew.

    """
    metadata = {"option": Option(help, minimum, maximum, above, below, choices, identity, sizing)}
    if callable(default):
        factory: Callable[[], Any] = default
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def option_of(field: dataclasses.Field[Any]) -> Option:
    """Return what `option` declared for a field, or an empty declaration."""
    declared = field.metadata.get("option")
    return declared if isinstance(declared, Option) else Option("")
