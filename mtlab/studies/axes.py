"""The axes of an ablation: what varies, under which conditions, and the label of each value."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from mtlab.config.conditions import CONDITIONS, spell_out
from mtlab.config.load import flatten, merge, nest
from mtlab.config.schema import NAMED, NODES, TWO_TOWERS, WHOLE
from mtlab.errors import UserError, nearest, place_errors

WHOLE_AXES = (*NODES, "init_from")  #: axes on these replace, never merge, whatever is set within them comes on top


@dataclass(frozen=True)
class Value:
    """One value of an axis: its settings, and its label in tables."""

    settings: Mapping[str, Any]  #: dotted path → value
    label: str
    named: bool = False  #: whether the label is clear without the axis's name

    def is_called(self, wanted: Any) -> bool:
        """Return whether `wanted` of a YAML file, a text or a number, is the label of this value."""
        return isinstance(wanted, str | int | float) and not isinstance(wanted, bool) and str(wanted) == self.label

    def matches(self, wanted: Any) -> bool:
        """Return whether `wanted` of a YAML file (a label, a plain value or a mapping) names this value."""
        if self.is_called(wanted):
            return True
        if isinstance(wanted, Mapping) and "label" in wanted:
            return bool(wanted["label"] == self.label)
        if isinstance(wanted, Mapping) and wanted and all(path in self.settings for path in wanted):
            return all(equal(self.settings[path], value) for path, value in wanted.items())
        if len(self.settings) > 1:
            return False
        value = next(iter(self.settings.values()))
        if isinstance(value, Mapping) and isinstance(wanted, str):
            return bool(value.get("name") == wanted)
        return equal(value, wanted)

    def is_named(self, wanted: Any) -> bool:
        """Return whether `wanted` is the label of this value, or a mapping as it is written on the axis."""
        return self.is_called(wanted) or (isinstance(wanted, Mapping) and self.matches(wanted))


@dataclass(frozen=True)
class Axis:
    """One axis: its values, and the conditions under which a cell has it."""

    name: str
    values: tuple[Value, ...]
    when: Mapping[str, Any]
    unless: Mapping[str, Any]

    @property
    def whole(self) -> bool:
        """Whether it replaces a whole node."""
        return self.name in WHOLE_AXES

    @property
    def paths(self) -> tuple[str, ...]:
        """The configuration paths that it sets."""
        return tuple(self.values[0].settings)

    def applies(self, config: Mapping[str, Any]) -> bool:
        """Return whether a cell with this configuration has the axis."""
        return holds(self.when, config) and not (self.unless and holds(self.unless, config))


def equal(left: Any, right: Any) -> bool:
    """Return whether two plain values are equal, as 1 and 1.0 are, but not 1 and true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


MISSING = object()  #: what a configuration has where it lacks a setting, for `lookup`


def lookup(config: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """Return the value at a dotted path, or `default` if the configuration has no such key."""
    found: Any = config
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def lookup_option(config: Mapping[str, Any], path: str) -> Any:
    """Return what a condition compares: null is the value of an option that is there, not of one that a node lacks."""
    if path in ("model", "model.name"):  # which two towers go without
        return lookup(config, "model.name", TWO_TOWERS)
    return lookup(config, path, MISSING if "." in path else None)


def whole(path: str) -> str:
    """Return the setting that is replaced as a whole where one at this path is set: most often its own."""
    return next((setting for setting in WHOLE if path.startswith(f"{setting}.")), path)


def scope(path: str) -> str:
    """Return the setting of which nothing is kept where one at this path changes: of a node's name, the node."""
    node = path.removesuffix(".name")
    return node if node in NAMED else whole(path)


def holds(conditions: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether every path of `conditions` has its value (or one of a list of values) in `config`."""
    for path, wanted in conditions.items():
        options = [wanted, *(wanted if isinstance(wanted, list) else ())]  # a list may be a value itself
        if not any(_is_set(config, path, option) for option in options):
            return False
    return True


def _is_set(config: Mapping[str, Any], path: str, wanted: Any) -> bool:
    """Return whether a configuration has a value: of a node its name, of a mapping all that `wanted` says of it."""
    value = lookup_option(config, path)
    within = {f"{path}.{key}": each for key, each in wanted.items()} if isinstance(wanted, Mapping) else {}
    if within and holds(within, config):
        return True
    return equal(value["name"] if isinstance(value, Mapping) and "name" in value else value, wanted)


def has_value(own: Value | None, axis: Collection[Value], config: Mapping[str, Any], path: str, wanted: Any) -> bool:
    """Return whether a cell has a setting, or a value that is named so on the axis of that name; of a list: any.

    The label of a value names this value alone, though others may have it as their name, and so does a mapping as the
    axis has it. Of a cell without the axis, the setting is asked for.

    Args:
        own: the cell's value on the axis, if it has that axis.
        axis: all values on it.
        config: of the cell.
        path: of the setting, or the name of the axis.
        wanted: as the YAML file has it.

    """
    if own is None:
        return holds({path: wanted}, config)
    options = [wanted, *(wanted if isinstance(wanted, list) else ())]
    if any(own.is_named(each) for each in options):
        return True
    unnamed = [each for each in options if not any(value.is_named(each) for value in axis)]
    return any(own.matches(each) or holds({path: each}, config) for each in unnamed)


def with_settings(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with settings applied, by dotted path.

    Whole nodes are replaced, not merged, and come first; then names of nodes, since a new name wipes options.
    """
    result = dict(config)
    for path in sorted(settings, key=lambda path: (path not in WHOLE_AXES, scope(path) not in NAMED)):
        setting = settings[path]
        if path in WHOLE_AXES:
            result[path] = setting
        else:  # `model`, too, merges: its name alone says nothing of its options
            named = path in NAMED and isinstance(setting, str)
            result = merge(result, nest(path, {"name": setting} if named else setting))
    return result


def parse_axes(axes: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Parse the `axes:` of a study, whole-node axes first, as dotted ones apply on top of them.

    Raises:
        UserError: an axis is empty, malformed, zipped unevenly, or names the same path as another.

    """
    parsed = [_axis(name, given) for name, given in axes.items()]
    owners: dict[str, str] = {}
    for axis in parsed:
        for path in axis.paths:
            if path in owners:
                raise UserError(f"axis {owners[path]!r} sets {path} too", key=f"axes.{axis.name}")
            owners[path] = axis.name
    for one, other in combinations([axis for axis in parsed if not axis.whole], 2):
        for path, inner in product(sorted(_leaves(one)), sorted(_leaves(other))):
            if f"{path}.".startswith(f"{inner}.") or f"{inner}.".startswith(f"{path}."):
                problem = f"axis {one.name!r} sets {path} too: one would overwrite the other"
                raise UserError(problem, key=f"axes.{other.name}")
    return tuple(sorted(parsed, key=lambda axis: not axis.whole))


def _leaves(axis: Axis) -> set[str]:
    """Return the paths of all single settings of an axis's values."""
    settings = [each for value in axis.values for each in value.settings.items()]
    nested = (
        nest(f"{path}.name" if path in NAMED and isinstance(each, str) else path, each) for path, each in settings
    )
    return {whole(path) for each in nested for path in flatten(each)}


def _axis(name: str, given: Any) -> Axis:
    key = f"axes.{name}"
    if isinstance(given, list):
        given = {"values": given}
    if not isinstance(given, Mapping):
        raise UserError(f"expected a list of values, found {given!r}", key=key)
    allowed = ("values", "zip", "labels", *CONDITIONS)
    for word in given:
        if word not in allowed:
            raise UserError(f"unknown key; {nearest(word, allowed)}", key=f"{key}.{word}")
    if ("values" in given) == ("zip" in given):
        raise UserError("needs one of values, zip", key=key)
    if "labels" in given and "zip" not in given:
        raise UserError("belongs to a zip; a value is named by `{value: …, label: …}`", key=f"{key}.labels")
    values = (
        _zipped(given["zip"], given.get("labels"), key)
        if "zip" in given
        else tuple(_listed(name, given["values"], key))
    )
    _refuse_repeats(values, key)
    conditions = {word: parse_condition(given.get(word), f"{key}.{word}") for word in CONDITIONS}
    return Axis(name, values, conditions["when"], conditions["unless"])


def _listed(name: str, values: Any, key: str) -> Iterator[Value]:
    if not isinstance(values, list):
        raise UserError(f"expected a list of values, found {values!r}", key=key)
    if not values:
        raise UserError("has no values", key=key)
    for value in values:
        yield _value(name, value)


def _value(name: str, value: Any) -> Value:
    wrapped = isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "label"}
    if name in NODES:
        inner = value["value"] if wrapped else value
        node = {"name": inner} if isinstance(inner, str) else inner
        if not isinstance(node, Mapping):
            raise UserError(f"expected a name or a mapping with one, found {inner!r}", key=f"axes.{name}")
        bare = {option: given for option, given in node.items() if option != "label"}
        labelled = value if wrapped else node
        return Value({name: bare}, _label(labelled.get("label", _node_label(bare)), name))
    if wrapped:
        return Value({name: value["value"]}, _label(value.get("label", plain_label(value["value"])), name))
    if isinstance(value, Mapping) and "label" in value:
        return Value({name: {k: v for k, v in value.items() if k != "label"}}, _label(value["label"], name))
    return Value({name: value}, plain_label(value))


def _label(given: Any, axis: str) -> str:
    if isinstance(given, str | int | float) and not isinstance(given, bool) and (label := one_line(str(given))):
        return label
    raise UserError(f"expected a name under `label`, found {given!r}", key=f"axes.{axis}")


def _zipped(columns: Any, labels: Any, key: str) -> tuple[Value, ...]:
    if not isinstance(columns, Mapping) or not columns or not all(isinstance(c, list) for c in columns.values()):
        raise UserError("expected path → list of values, lists of one length", key=f"{key}.zip")
    lengths = {path: len(column) for path, column in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{path} has {length}" for path, length in lengths.items())
        raise UserError(f"lists of unequal length: {counts}", key=f"{key}.zip")
    if not next(iter(lengths.values())):
        raise UserError("has no values", key=f"{key}.zip")
    for path, column in columns.items():
        if path in NODES and any(isinstance(value, Mapping) and "label" in value for value in column):
            raise UserError("takes no `label`: name the values by `labels: […]` beside `zip`", key=f"{key}.zip.{path}")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if labels is not None:
        if not isinstance(labels, list) or len(labels) != len(rows):
            raise UserError(f"expected a list of {len(rows)} names, one for each value", key=f"{key}.labels")
        names = [_label(label, key.removeprefix("axes.")) for label in labels]
        return tuple(Value(row, name, named=True) for row, name in zip(rows, names, strict=True))
    return tuple(
        Value(row, ", ".join(f"{path.rpartition('.')[2]} {plain_label(value)}" for path, value in row.items()))
        for row in rows
    )


def parse_condition(given: Any, key: str) -> Mapping[str, Any]:
    """Check what `when` or `unless` holds; None: no condition.

    Raises:
        UserError: it is no mapping of paths to values.

    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not given:
        raise UserError("expected path → value", key=key)
    with place_errors(key=key):
        return spell_out(given)


def _refuse_repeats(values: tuple[Value, ...], key: str) -> None:
    for index, value in enumerate(values):
        for other in values[:index]:
            if value.settings == other.settings:
                raise UserError(f"value {value.label!r} is repeated", key=f"{key}[{index}]")
            if value.label == other.label:
                raise UserError(f"two values are called {value.label!r}: give one another label", key=f"{key}[{index}]")


def _node_label(node: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{option} {plain_label(value)}" for option, value in node.items() if option != "name")
    return f"{node.get('name')} ({rest})" if rest else str(node.get("name"))


def plain_label(value: Any) -> str:
    """Format a value for a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ", ".join(plain_label(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain_label(item)}" for key, item in value.items())
    return one_line(str(value))


def one_line(text: str) -> str:
    """Return a text without line breaks, as names in tables are."""
    return " ".join(text.split())
