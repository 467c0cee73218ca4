"""JSON Schemas of configuration dataclasses, by which editors complete and check files."""

from __future__ import annotations

import dataclasses
import json
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mtlab.config.check import hints
from mtlab.config.options import Option, option_of

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"  #: the newest that the YAML language server knows in full
_PLAIN: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}


def dataclass_schema(cls: type[Any]) -> Schema:
    """Return the schema of a mapping that `check_config(cls, …)` would take, with help and defaults."""
    types = hints(cls)
    properties = {field.name: _field_schema(field, types[field.name]) for field in dataclasses.fields(cls)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def any_of(*schemas: Schema, description: str = "") -> Schema:
    """Return the schema of what one of several accepts."""
    return {"anyOf": list(schemas)} | ({"description": description} if description else {})


def _field_schema(field: dataclasses.Field[Any], hint: Any) -> Schema:
    declared = option_of(field)
    schema = _type_schema(hint, declared)
    if declared.help:
        schema = {"description": declared.help} | schema
    default = field.default if field.default is not dataclasses.MISSING else None
    if default is not None:
        schema |= {"default": json.loads(json.dumps(default))}
    return schema


def _type_schema(hint: Any, declared: Option) -> Schema:
    origin, inner = get_origin(hint), get_args(hint)
    if declared.choices is not None and hint in (str, int, float):
        return {"enum": list(declared.choices)}
    if hint in _PLAIN:
        return dict(_PLAIN[hint]) | (_bounds(declared) if hint in (int, float) else {})
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (UnionType, Union):
        return any_of(*(_type_schema(each, declared) for each in inner))
    if origin in (list, tuple):
        items = {"items": _type_schema(inner[0], declared)} if inner else {}
        return {"type": "array", **items}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return any_of(dataclass_schema(hint), {"type": "null"})
    return {"type": "object"} if origin is dict or hint is dict else {}


def _bounds(declared: Option) -> Schema:
    named = {
        "minimum": declared.minimum,
        "maximum": declared.maximum,
        "exclusiveMinimum": declared.above,
        "exclusiveMaximum": declared.below,
    }
    return {name: bound for name, bound in named.items() if bound is not None}
