"""Checking plain data against a configuration dataclass: types by OmegaConf, ranges by `option`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtlab.config.options import option_of
from mtlab.errors import UserError, nearest

C = TypeVar("C")


def check_config(cls: type[C], data: Mapping[str, Any]) -> C:
    """Build the dataclass `cls` from plain data, with defaults for what is not given.

    Raises:
        UserError: unknown key (nearest offered), wrong type, or a value out of range; `key` says which.

    """
    _refuse_unknown(cls, data, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(cls), OmegaConf.create(_whole_numbers(cls, data)))
        _refuse_out_of_range(cls, OmegaConf.to_container(merged), "")  # before the class computes with them
        built = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(_explain(cls, data, error), key=error.full_key or None) from None
    assert isinstance(built, cls)
    return built


def to_plain(config: Any) -> dict[str, Any]:
    """Turn a configuration dataclass into plain data (lists, not tuples), defaults included."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def check_and_fill(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `to_plain(check_config(cls, data))`, cached, as a plan of a thousand cells has few distinct nodes."""
    key: Any = cls
    plain: dict[str, Any] = json.loads(_cached_plain(key, _cache_key(data), os.getcwd()))
    return plain


def check_config_once(cls: type[C], data: Mapping[str, Any]) -> C:
    """Return `check_config(cls, data)`, cached, for frozen classes."""
    key: Any = cls
    config: C = _cached_config(key, _cache_key(data), os.getcwd())
    return config


def _cache_key(data: Mapping[str, Any]) -> str:
    """Write the options as a key. The working folder is part of the caches' keys, too: relative paths depend on it."""
    return json.dumps(data, sort_keys=True, default=repr)


@lru_cache(maxsize=4096)
def _cached_config(cls: Any, data: str, _working_folder: str) -> Any:
    return check_config(cls, json.loads(data))


@lru_cache(maxsize=4096)
def _cached_plain(cls: Any, data: str, _working_folder: str) -> str:
    return json.dumps(to_plain(check_config(cls, json.loads(data))))


def _whole_numbers(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Write numbers like 1e3 and 8.0 as whole numbers, where whole ones are expected."""
    changed = dict(data)
    for key, value in data.items():
        inner = nested_schema(cls, key)
        if inner is not None and isinstance(value, Mapping):
            changed[key] = _whole_numbers(inner, value)
        elif isinstance(value, float) and value.is_integer() and hints(cls).get(key) in _WHOLE:
            changed[key] = int(value)
    return changed


def _refuse_unknown(cls: type[Any], data: Any, prefix: str) -> None:
    if not isinstance(data, Mapping):
        raise UserError(f"expected a mapping, found {_kind(data)}", key=prefix or None)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key, value in data.items():
        dotted = f"{prefix}.{key}" if prefix else str(key)
        if key not in fields:
            raise UserError(f"unknown key; {_nearest_key(cls, key)}", key=dotted)
        inner = nested_schema(cls, key)
        if inner is not None and value is not None:
            _refuse_unknown(inner, value, dotted)
        elif inner is not None and hints(cls)[key] is inner:
            raise UserError("expected a mapping, found nothing: leave the key out", key=dotted)
        elif isinstance(value, str) and "${" in value:
            raise UserError("resolvers (${…}) are not allowed: write the value", key=dotted)
        elif isinstance(value, bool) and hints(cls).get(key) in _NUMBERS:
            raise UserError(f"expected a number, found {str(value).lower()}", key=dotted)
        elif problem := _container_problem(hints(cls).get(key), value):
            raise UserError(problem, key=dotted)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if problem := _item_problem(_item_kinds(hints(cls)[key]), item):
                    raise UserError(problem, key=f"{dotted}[{number}]")


def _nearest_key(cls: type[Any], key: str) -> str:
    """Offer a key of this section, or of one below it that has this very name."""
    for section in (field.name for field in dataclasses.fields(cls)):
        inner = nested_schema(cls, section)
        if inner is not None and key in {field.name for field in dataclasses.fields(inner)}:
            return f"did you mean '{section}.{key}'?"
    return nearest(key, [field.name for field in dataclasses.fields(cls)])


def _container_problem(hint: Any, value: Any) -> str:
    """Say where one value stands for a list or mapping, or the other way round; OmegaConf would not say it in words."""
    wanted, kinds = _containers(hint), set(_kinds(hint)) - {type(None)}
    given = list if isinstance(value, list) else dict if isinstance(value, Mapping) else None
    if given is None:
        missing = value is not None and wanted and len(wanted) == len(kinds)
        return f"expected {_CONTAINERS[wanted[0]]}, found {_shown(value)}" if missing else ""
    if given in wanted:
        sizes = {len(get_args(kind)) for kind in kinds if get_origin(kind) is tuple and ... not in get_args(kind)}
        fits = given is not list or not sizes or len(wanted) > 1 or len(value) in sizes
        return "" if fits else f"expected {max(sizes)} values, found {len(value)}"
    if wanted:
        return f"expected {_CONTAINERS[wanted[0]]}, found {_CONTAINERS[given]}"
    single = all(kind in (int, float, str, bool) or get_origin(kind) is Literal for kind in kinds)
    return f"expected a single value, found {_CONTAINERS[given]}" if single else ""


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _item_kinds(hint: Any) -> set[Any]:
    """Return the types of what a list in this field holds."""
    items = [item for kind in _kinds(hint) if get_origin(kind) in (list, tuple) for item in get_args(kind)]
    return {kind for item in items for kind in _kinds(item)} - {...}


def _item_problem(kinds: set[Any], item: Any) -> str:
    """Say what is wrong with an item of a list, where OmegaConf would pass it or not say where; "" if nothing is."""
    scalars = (int, float, str, bool, type(None))
    if isinstance(item, list | Mapping) and kinds and all(each in scalars for each in kinds):
        return f"expected a single value, found {_CONTAINERS[list if isinstance(item, list) else dict]}"
    wanted = _EXPECTED.get(next(iter(kinds))) if len(kinds) == 1 else None
    if wanted is None or kinds == {bool} or isinstance(item, list | Mapping):
        return ""
    try:
        number = None if isinstance(item, bool) or (kinds == {int} and isinstance(item, float)) else float(item)
    except (TypeError, ValueError):
        number = None
    return f"expected {wanted}, found {_shown(item)}" if number is None else ""


def _containers(hint: Any) -> list[Any]:
    """Return the kinds of containers, `list` or `dict`, that a field may hold."""
    origins = [get_origin(kind) or kind for kind in _kinds(hint)]
    return [list if origin is tuple else origin for origin in origins if origin in (list, tuple, dict)]


def _refuse_out_of_range(cls: type[Any], data: Any, prefix: str) -> None:
    for field in dataclasses.fields(cls):
        dotted, value = f"{prefix}.{field.name}" if prefix else field.name, data.get(field.name)
        inner = nested_schema(cls, field.name)
        if inner is not None and isinstance(value, Mapping):
            _refuse_out_of_range(inner, value, dotted)
        elif (problem := option_of(field).problem(value)) is not None:
            raise UserError(problem, key=dotted)


def hints(cls: Any) -> dict[str, Any]:
    """Return the evaluated types of a dataclass's fields, cached, as evaluating them is slow."""
    return _hints(cls)


_hints = lru_cache(maxsize=1024)(get_type_hints)


def nested_schema(cls: type[Any], key: str) -> type[Any] | None:
    """Return the dataclass that a field holds, or may hold, or None."""
    hint = hints(cls).get(key)
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    return None


def _explain(cls: type[Any], data: Any, error: OmegaConfBaseException) -> str:
    """Say what the field expects and what it was given; else in OmegaConf's words."""
    *sections, field = (error.full_key or "").partition("[")[0].split(".")
    kind: type[Any] | None = cls
    for section in sections:
        kind, data = (None if kind is None else nested_schema(kind, section)), data.get(section) or {}
    hint = None if kind is None else hints(kind).get(field)
    given = [each for each in (hint, *get_args(hint)) if get_origin(each) is Literal]
    value = data.get(field) if isinstance(data, Mapping) else None
    if given and isinstance(value, str):
        return f"{value!r} is not one of {', '.join(map(str, get_args(given[0])))}"
    if hint in _EXPECTED and not isinstance(value, list | Mapping):
        return f"expected {_EXPECTED[hint]}, found {_shown(value)}"
    return (error.msg or str(error)).strip().partition("\n")[0].rstrip(".")


def _shown(value: Any) -> str:
    return {type(None): "nothing", bool: str(value).lower()}.get(type(value), repr(value))


def _kind(value: Any) -> str:
    return {type(None): "nothing", list: "a list", str: f"the word {value!r}"}.get(type(value), f"{value!r}")


_CONTAINERS = {list: "a list", dict: "a mapping"}
_WHOLE: tuple[Any, ...] = (int, int | None)
_NUMBERS: tuple[Any, ...] = (int, float, int | None, float | None)
_EXPECTED: Mapping[Any, str] = {
    **dict.fromkeys(_WHOLE, "a whole number"),
    **dict.fromkeys((float, float | None), "a number"),
    **dict.fromkeys((bool, bool | None), "true or false"),
}
