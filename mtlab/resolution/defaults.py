"""Filling in what a cell's YAML leaves out, and checking each value alone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from mtlab.config.check import check_and_fill, hints
from mtlab.config.load import merge
from mtlab.config.nodes import lookup_entry, own_options
from mtlab.config.registry import Entry
from mtlab.config.schema import MODELS, NAMED, NODES, ModelConfig, RunConfig, model_name, model_schema
from mtlab.errors import UserError, nearest, place_errors
from mtlab.resolution.nodes import registry

DEFAULT_STEPS = 2000  #: where no length is given
_MODEL_OPTIONS = frozenset(name for schema in MODELS.values() for name in schema.__dataclass_fields__)


def fill_defaults(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's whole configuration: what is written, and the defaults of all else.

    Raises:
        UserError: an unknown key or name, a wrong type, or a value out of range.

    """
    fields = [field.name for field in dataclasses.fields(RunConfig)]
    for key in written:
        if key not in fields:
            raise UserError(f"unknown key; {nearest(key, fields)}", key=key)
    config: dict[str, Any] = {}
    for key in fields:
        given = written.get(key)
        if key in NODES:
            config[key] = _fill_node(key, given if given is not None else getattr(RunConfig(), key))
        elif key == "init_from":
            config[key] = given
        elif key == "model":
            config[key] = _fill_model(given if given is not None else {})
        else:
            config[key] = _fill_section(key, given if given is not None else {})
    train = config["train"]
    if all(value is None for value in train["length"].values()):
        train = train | {"length": train["length"] | {"steps": DEFAULT_STEPS}}
    config["train"] = train | {"augment": _fill_augment(train["augment"])}
    return config


def fill_what_fits(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fill_defaults` of a cell that need not work: a section that is wrong is as written, on defaults."""
    return {field.name: _fill_what_fits(field.name, written.get(field.name)) for field in dataclasses.fields(RunConfig)}


def _fill_what_fits(key: str, given: Any) -> Any:
    node = {"name": given} if key in NAMED and isinstance(given, str) else given
    named = {"name": node["name"]} if isinstance(node, Mapping) and "name" in node else None
    for tried in (node, named, None):
        with contextlib.suppress(UserError):
            default = fill_defaults({key: tried})[key]
            return default if tried is node else merge({key: default}, {key: node})[key]
    return node


def _fill_section(key: str, given: Any) -> dict[str, Any]:
    with place_errors(key=key):
        return check_and_fill(hints(RunConfig)[key], _mapping(given))


def _fill_model(given: Any) -> dict[str, Any]:
    """Fill in the options of the kind of model that is named; two towers go without their name, as they always did."""
    node = {"name": given} if isinstance(given, str) else _mapping(given, "model")
    schema = model_schema(node)
    with place_errors(key="model"):
        try:
            filled = check_and_fill(schema, own_options(node))
        except UserError as error:
            if error.problem.startswith("unknown key") and error.key in _MODEL_OPTIONS - {*schema.__dataclass_fields__}:
                (name,) = (name for name, each in MODELS.items() if error.key in each.__dataclass_fields__)
                raise UserError(f"is an option of `model: {name}`, not of {model_name(node)}", key=error.key) from None
            raise
    return filled if schema is ModelConfig else {"name": model_name(node)} | filled


def _fill_node(key: str, given: Any) -> dict[str, Any]:
    given = {"name": given} if isinstance(given, str) else _mapping(given, key)
    entry = lookup_entry(registry(key), given, key)
    try:
        return _fill_options(entry, given, key)
    except UserError as error:
        problem, _, hint = error.problem.partition("; ")
        if problem != "unknown key":
            raise
        raise UserError(f"{entry.kind} {entry.name!r} has no such option; {hint}", key=error.key) from None


def _fill_augment(given: Any) -> dict[str, Any] | None:
    """Fill in the transform of training images, whose size is the vision tower's."""
    if given is None:
        return None
    from mtlab.data.transforms.base import TRANSFORMS

    key = "train.augment"
    node = {"name": given} if isinstance(given, str) else _mapping(given, key)
    entry = lookup_entry(TRANSFORMS, node, key)
    if "size" in node:
        raise UserError("is the vision tower's: leave it out", key=f"{key}.size")
    filled = _fill_options(entry, node, key)
    if not entry.cls.square:
        raise UserError(f"{entry.name!r} gives images of different shapes, which do not fit into a batch", key=key)
    if same := entry.cls.only_normalised_otherwise:
        raise UserError(f"say {same!r}: {entry.name!r} differs from it in what the vision tower does itself", key=key)
    return {option: value for option, value in filled.items() if option != "size"}


def _fill_options(entry: Entry[Any], node: Mapping[str, Any], key: str) -> dict[str, Any]:
    with place_errors(key=key):
        return {"name": entry.name} | check_and_fill(entry.config, own_options(node))


def _mapping(given: Any, key: str | None = None) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise UserError(f"expected a mapping, found {given!r}", key=key)
    return given
