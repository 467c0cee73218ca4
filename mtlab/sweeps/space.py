"""The search space: parameters with their distributions and conditions, as the YAML declares them.

    train.lr: {float: [3e-4, 1e-2], log: true}
    manager.k: {int: [1, 4], when: {manager.name: sparse}}
    vision.layers: {choice: [top3, all, [3, 5]]}
    manager: default                                    # the manager's own space, see `managers/search_space.py`

A choice may be any value of a configuration; Optuna is given its label where it is no string or number.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mtlab.config.conditions import CONDITIONS
from mtlab.config.hashing import canonical_json
from mtlab.errors import UserError, place_errors
from mtlab.managers.search_space import ends
from mtlab.studies.axes import equal, holds, lookup, parse_condition, plain_label, with_settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DEFAULT = "default"  #: means the manager's own search space
ParameterKind = Literal["float", "int", "choice"]


@dataclass(frozen=True)
class SearchParameter:
    """One parameter of the search space: a setting with its distribution."""

    path: str
    kind: ParameterKind
    values: tuple[Any, ...]  #: the two bounds, or the choices
    log: bool = False
    step: float | None = None
    when: Mapping[str, Any] = field(default_factory=dict)
    unless: Mapping[str, Any] = field(default_factory=dict)
    own: bool = False  #: is it from the manager's own space, which yields to settings?

    @property
    def conditions(self) -> tuple[str, ...]:
        """The paths that its conditions refer to."""
        return (*self.when, *self.unless)

    @property
    def names(self) -> tuple[Any, ...]:
        """The choices as Optuna is given them."""
        plain = all(value is None or isinstance(value, str | bool | int | float) for value in self.values)
        distinct = len({str(value) for value in self.values}) == len(self.values)
        if plain and distinct and len({_family(value) for value in self.values}) == 1:
            return self.values
        return tuple(plain_label(value) for value in self.values)

    def grid(self, most: int) -> tuple[Any, ...]:
        """Return every choice, or some values from the lower bound up, and the upper bound."""
        if self.kind == "choice":
            return self.values
        low, high = self.values
        step = self.step or (1 if self.kind == "int" else min(0.1, (high - low) / 3))  # not to a whole number
        return (*(value for at in range(most) if (value := low + at * step) < high), high)

    def applies(self, config: Mapping[str, Any]) -> bool:
        """Does a cell with this configuration have the parameter?"""
        return holds(self.when, config) and not (self.unless and holds(self.unless, config))

    def distribution(self) -> BaseDistribution:
        """Make Optuna's distribution."""
        from optuna import distributions

        if self.kind == "choice":
            return distributions.CategoricalDistribution(self.names)
        low, high = self.values
        if self.kind == "int":
            return distributions.IntDistribution(low, high, log=self.log, step=int(self.step or 1))
        return distributions.FloatDistribution(low, high, log=self.log, step=self.step)

    def decode(self, suggested: Any) -> Any:
        """Convert what Optuna suggests into the setting's value."""
        if (
            self.kind == "float" and self.step is not None
        ):  # Optuna's 0.1 × 3 is 0.30000000000000004, and so another cell
            return float(f"{suggested:.12g}")
        if self.kind != "choice":
            return suggested
        return next(value for value, name in zip(self.values, self.names, strict=True) if equal(name, suggested))

    def encode(self, value: Any) -> Any:
        """Convert a value of the setting into what Optuna would suggest.

        Raises:
            UserError: it lies outside of the distribution.

        """
        if self.kind == "choice":
            for known, name in zip(self.values, self.names, strict=True):
                if canonical_json(known) == canonical_json(value) or (isinstance(value, str) and name == value):
                    return name
            raise UserError(f"{plain_label(value)} is none of the choices {', '.join(map(plain_label, self.values))}")
        number = isinstance(value, int if self.kind == "int" else int | float) and not isinstance(value, bool)
        if not number:
            raise UserError(f"expected {'a whole' if self.kind == 'int' else 'a'} number, found {value!r}")
        if not self.values[0] <= value <= self.values[1]:
            raise UserError(f"{value:g} lies outside of {self.values[0]:g} to {self.values[1]:g}")
        if self.step is not None and not _whole((value - self.values[0]) / self.step):
            raise UserError(f"{value:g} is no step of {self.step:g} from {self.values[0]:g}")
        return value if self.kind == "int" else float(value)

    def to_json(self) -> dict[str, Any]:
        """As plain data, in the syntax of the YAML."""
        written: dict[str, Any] = {self.kind: list(self.values)}
        if self.log:
            written["log"] = True
        if self.step is not None:
            written["step"] = self.step
        for word in CONDITIONS:
            if getattr(self, word):
                written[word] = dict(getattr(self, word))
        return written

    @classmethod
    def from_json(cls, path: str, written: Mapping[str, Any]) -> SearchParameter:
        """Read what `to_json` wrote."""
        return parse_parameter(path, written)

    def __str__(self) -> str:
        if self.kind == "choice":
            words = " | ".join(map(plain_label, self.values))
        else:
            words = f"{self.values[0]:g} – {self.values[1]:g}"
            words += ", log" if self.log else ""
            words += f", step {self.step:g}" if self.step is not None else ""
        for word in CONDITIONS:
            if getattr(self, word):
                words += f", {word} {plain_label(getattr(self, word))}"
        return words


def parse_parameter(path: str, given: Any, *, own: bool = False) -> SearchParameter:
    """Read one distribution.

    Raises:
        UserError: it is malformed, empty, inverted, or repeats a choice; the key is the path.

    """
    if not isinstance(given, Mapping):
        raise UserError(f"expected a distribution such as {{float: [0.1, 1.0]}}, found {given!r}", key=path)
    conditions = {word: parse_condition(given[word], f"{path}.{word}") for word in CONDITIONS if word in given}
    bare = {word: value for word, value in given.items() if word not in CONDITIONS}
    values = ends(path, bare)
    kind: ParameterKind = next(word for word in ("float", "int", "choice") if word in bare)
    log, step = bare.get("log", False), bare.get("step")
    if not isinstance(log, bool):
        raise UserError(f"log: expected true or false, found {log!r}", key=path)
    if log and step is not None:
        raise UserError("log and step do not go together: remove one", key=path)
    if step is not None and not _whole((values[1] - values[0]) / step):
        raise UserError(f"step: {step:g} does not divide the range {values[0]:g} to {values[1]:g}", key=path)
    if kind == "float":
        values = [float(value) for value in values]
    found = SearchParameter(path, kind, tuple(values), log, step, own=own, **conditions)
    if kind == "choice" and len(set(map(str, found.names))) < len(values):
        raise UserError(f"choice: two of them are called the same: {', '.join(map(str, found.names))}", key=path)
    return found


def parse_space(given: Any) -> dict[str, Any]:
    """Read `space:` into path → `SearchParameter` or `DEFAULT`, in the order of the file.

    Raises:
        UserError: it is empty or malformed; the key is the path.

    """
    if given == DEFAULT:
        given = {"manager": DEFAULT}
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"expected default, or path → distribution, found {given!r}")
    found: dict[str, Any] = {}
    for path, written in given.items():
        if written == DEFAULT:
            if path != "manager":
                raise UserError("only managers have a space of their own: write a distribution", key=path)
            found[path] = DEFAULT
        else:
            found[path] = parse_parameter(path, written)
    return found


def encode_point(space: Mapping[str, SearchParameter], values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Encode the values of a point, path by path, see `SearchParameter.encode`."""
    for path, value in values.items():
        with place_errors(key=path):
            yield path, space[path].encode(value)


def default_point(
    space: Iterable[SearchParameter],
    config: Mapping[str, Any],
    resolve: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> tuple[dict[str, Any], list[str]]:
    """Encode the settings that a resolved configuration has; also say which lie outside of their range.

    A choice is what gives the setting its value once it is resolved: `static` may stand for a node with its defaults.
    """
    point: dict[str, Any] = {}
    problems: list[str] = []
    for each in space:
        value = lookup(config, each.path)
        if value is None and None not in each.values:
            continue
        for choice in each.values if each.kind == "choice" else ():
            with contextlib.suppress(UserError):  # it does not go with the other settings
                if lookup(resolve(with_settings(config, {each.path: choice})), each.path) == value:
                    value = choice
                    break
        try:
            point[each.path] = each.encode(value)
        except UserError as error:
            problems.append(f"{each.path} {error.problem}")
    return point, problems


def _family(value: Any) -> str:
    """Group values of one type: 1, 1.0 and true are equal in Python, and so for Optuna."""
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else "word"


def _whole(number: float) -> bool:
    return math.isclose(number, round(number), abs_tol=1e-9)
