"""The JSON Schema of study files, generated from what checks them: `mtlab schema study`.

It knows the shipped managers, towers, tasks and data sets. Names that it does not know pass, with any option, as a
plug-in may register them: `mtlab plan` checks them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from mtlab.config.check import hints, nested_schema
from mtlab.config.json_schema import DRAFT, Schema, any_of, dataclass_schema
from mtlab.config.options import option_of
from mtlab.config.registry import Entry
from mtlab.config.schema import MODELS, NAMED, NODES, TWO_TOWERS, RunConfig
from mtlab.launch.backends import LAUNCHERS
from mtlab.resolution.nodes import registry
from mtlab.studies.seeds import SequentialSeeds
from mtlab.studies.spec import StudyKeys
from mtlab.tracking.base import TRACKERS

TEXTS: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
BASE: Schema = TEXTS | {"description": "files or shipped presets that this one is merged into: [presets/small]"}
INTEGER: Schema = {"type": "integer", "minimum": 0}


def study_schema() -> Schema:
    """Return the schema of ablation and preset files."""
    schema = dataclass_schema(StudyKeys)
    keys = schema["properties"]
    keys["kind"] = {"enum": ["ablation", "preset"], "description": "ablation: a study; preset: a base of others"}
    keys["base"] = BASE
    return {"$schema": DRAFT, "title": "mtlab study", **with_shared_keys(schema, "axes")}


def with_shared_keys(schema: Schema, variants: str) -> Schema:
    """Describe the keys that studies and sweeps share in full, of which the dataclasses say `Any`.

    Args:
        schema: of the file's keys; changed in place.
        variants: the key of the axes.

    """
    keys = schema["properties"]
    described: dict[str, Schema] = {
        "tracking": _tracking_schema(),
        "set": settings_schema(),
        variants: _axes_schema(),
        "baseline": {"type": "object"},
        "launcher": any_of({"enum": list(LAUNCHERS)}, *(dataclass_schema(each) for each in LAUNCHERS.values())),
    }
    if "exclude" in keys:
        described["exclude"] = {"type": "array", "items": {"type": "object"}}
        described["seeds"] = any_of(INTEGER, {"type": "array", "items": INTEGER}, dataclass_schema(SequentialSeeds))
    for key, part in described.items():
        keys[key] = {name: value for name, value in keys[key].items() if name == "description"} | part
    return schema | {"definitions": {node: node_schema(node) for node in NODES} | {"model": model_options_schema()}}


def settings_schema() -> Schema:
    """Return the schema of `set`: all sections, the options of every registered class, and dotted keys."""
    types = hints(RunConfig)
    properties: dict[str, Schema] = {}
    for field in dataclasses.fields(RunConfig):
        part = {"allOf": [_node(field.name)]} if field.name in NAMED else _section(types[field.name])
        properties[field.name] = {"description": option_of(field).help} | part
    return {"type": "object", "properties": properties, "additionalProperties": False} | _dotted(properties)


def _node(node: str) -> Schema:
    return {"$ref": f"#/definitions/{node}"}


def node_schema(node: str) -> Schema:
    """Return the schema of a node: a name, or its name with options, and on an axis with a `label`."""
    entries = [entry for entry in registry(node) if entry.is_builtin]
    names = [entry.name for entry in entries]
    name: Schema = any_of({"enum": names}, {"type": "string"}, description="; ".join(map(_summary, entries)))
    options = [_options_of(entry) for entry in entries]
    return any_of(name, {"type": "object", "properties": {"name": name}, "allOf": options})


def model_options_schema() -> Schema:
    """Return the schema of the section `model`: its name, two towers by default, and the options of every kind."""
    name: Schema = {"enum": list(MODELS), "default": TWO_TOWERS}
    options = [dataclass_schema(MODELS[kind])["properties"] for kind in reversed(tuple(MODELS))]
    properties = {"name": name} | {option: schema for each in options for option, schema in each.items()}
    section: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return any_of(name, {"type": "null"}, section | _dotted(_mappings(*MODELS.values())))


def _options_of(entry: Entry[Any]) -> Schema:
    """Return what follows from an entry's name: its options, and no others."""
    schema = dataclass_schema(entry.config)
    schema["properties"] = {"name": {}, "label": {}, **schema["properties"]}
    named = {"properties": {"name": {"const": entry.name}}, "required": ["name"]}
    return {"if": named, "then": schema}


def _tracking_schema() -> Schema:
    """Return the schema of `tracking`: our trackers with their options, and any of plug-ins."""
    known = {each.name: any_of(dataclass_schema(each.config), {"type": "null"}) for each in TRACKERS if each.is_builtin}
    return {"type": "object", "properties": known, "additionalProperties": {"type": ["object", "null"]}}


def _axes_schema() -> Schema:
    """Return the schema of axes: a list of values, or a mapping of values with conditions, for each axis."""
    values: Schema = {"type": "array", "minItems": 1}
    whole = {node: any_of({"type": "array", "items": _node(node)}, {"type": "object"}) for node in NODES}
    return {"type": "object", "properties": whole, "additionalProperties": any_of(values, {"type": "object"})}


def _section(hint: Any) -> Schema:
    if not dataclasses.is_dataclass(hint):
        return {}
    assert isinstance(hint, type)
    return any_of(dataclass_schema(hint) | _dotted(_mappings(hint)), {"type": "null"})


def _mappings(*sections: type[Any]) -> list[str]:
    """Return the keys of sections that may hold mappings."""
    types = {key: (cls, hint) for cls in sections for key, hint in hints(cls).items()}
    return [key for key, (cls, hint) in types.items() if hint is Any or nested_schema(cls, key) is not None]


def _dotted(keys: Collection[str]) -> Schema:
    """Return the part of a schema that allows settings by path, `length.steps` of a `length` among the keys."""
    return {"patternProperties": {rf"^({'|'.join(keys)})\.[\w.]+$": {}}} if keys else {}


def _summary(entry: Entry[Any]) -> str:
    return f"{entry.name}: {(entry.cls.__doc__ or '').strip().partition(chr(10))[0]}"
