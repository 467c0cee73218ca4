"""Everything that can be named in the YAML and on the command line, as plain data for `mtlab list`, docs and tests."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mtlab.config import yaml
from mtlab.config.check import hints
from mtlab.config.load import recipe_folders
from mtlab.config.options import option_of
from mtlab.config.registry import Entry, Registry
from mtlab.config.schema import (
    CacheConfig,
    MetricsConfig,
    ModelConfig,
    MultimodalConfig,
    RecordConfig,
    TrainConfig,
)
from mtlab.errors import UserError, nearest
from mtlab.files import read_text
from mtlab.resolution.nodes import registry
from mtlab.tracking.base import TRACKERS

Kind = Literal["managers", "towers", "tasks", "datasets", "transforms", "converters", "trackers", "settings", "presets"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Settings of a run that name no registered class: section → its options.
_SECTIONS: dict[str, type[Any]] = {
    "model": ModelConfig,
    "mllm": MultimodalConfig,
    "train": TrainConfig,
    "cache": CacheConfig,
    "metrics": MetricsConfig,
    "record": RecordConfig,
}
_NODES = {"managers": ("manager",), "towers": ("text", "vision"), "tasks": ("task",), "datasets": ("data",)}


def catalogue(kind: Kind, name: str | None = None) -> list[dict[str, Any]]:
    """List everything of a kind, or the one of that name, with its options.

    Returns:
        One mapping per entry: `name`, `kind`, `summary`, `docs`, `version`, `origin` and `options` (each `name`,
        `type`, `default`, `help`, `identity`, and `minimum`, `maximum`, `choices` where they are set). Presets have
        `name`, `kind`, `summary`, `origin` (the file) and `docs` (its content). Settings have no version.

    Raises:
        UserError: there is none of that name.

    """
    listed = {"presets": _presets, "settings": _settings}.get(kind)
    entries = list(_registered(kind) if listed is None else listed())
    if name is None:
        return entries
    found = [entry for entry in entries if entry["name"] == name]
    if not found:
        near = nearest(name, [entry["name"] for entry in entries])
        raise UserError(f"unknown {kind.removesuffix('s')} {name!r}; {near}{_failed(kind)}")
    return found


def _failed(kind: str) -> str:
    """Return a note on plug-ins of this kind that failed to load."""
    return (
        ""
        if kind in ("presets", "settings")
        else "".join(entries.failure_note for entries in _registries(kind).values())
    )


def _registered(kind: str) -> Iterator[dict[str, Any]]:
    for node, entries in _registries(kind).items():
        for entry in entries:
            yield _entry(entry, node)


def _registries(kind: str) -> dict[str, Registry[Any]]:
    """Return the registries of a kind, each with the node of the configuration that names its entries."""
    if kind == "converters":
        from mtlab.data.converters.base import CONVERTERS

        return {"data convert": CONVERTERS}
    if kind == "trackers":
        return {"tracking": TRACKERS}
    if kind == "transforms":
        from mtlab.data.transforms.base import TRANSFORMS

        return {"transform": TRANSFORMS}
    return {node: registry(node) for node in _NODES[kind]}


def _settings() -> Iterator[dict[str, Any]]:
    for name, schema in _SECTIONS.items():
        docs = inspect.getdoc(schema) or ""
        yield {
            "name": name,
            "kind": "settings of a run",
            "summary": docs.partition("\n")[0],
            "docs": docs,
            "origin": schema.__module__,
            "options": options(schema),
        }


def _entry(entry: Entry[Any], node: str) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "key": node,
        "summary": entry.summary,
        "docs": _docs(entry.cls),
        "version": entry.version,
        "origin": entry.origin,
        "options": options(entry.config),
    }


def _docs(cls: type[Any]) -> str:
    """Return a class's docstring; of a converter also which files it reads."""
    text = inspect.getdoc(cls) or ""
    layout = getattr(cls, "layout", None)
    return f"{text}\n\nBelow --root: {layout}" if layout else text


def options(schema: type[Any]) -> list[dict[str, Any]]:
    """Describe the fields of a configuration dataclass, nested ones by dotted name."""
    described: list[dict[str, Any]] = []
    types = hints(schema)
    defaults = schema()
    for field in dataclasses.fields(schema):
        rule, default = option_of(field), getattr(defaults, field.name)
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            described += [inner | {"name": f"{field.name}.{inner['name']}"} for inner in options(type(default))]
            continue
        bounds = {word: getattr(rule, word) for word in ("minimum", "maximum", "above", "below")}
        choices = list(rule.choices) if rule.choices is not None else literals(types[field.name])
        described.append(
            {
                "name": field.name,
                "type": type_name(types[field.name]),
                "default": list(default) if isinstance(default, tuple) else default,
                "help": rule.help,
                "identity": rule.identity,
                **{word: bound for word, bound in bounds.items() if bound is not None},
                **({"choices": choices} if choices else {}),
            }
        )
    return described


def literals(hint: Any) -> list[Any]:
    """Return the values of a `Literal` type, or nothing."""
    return list(get_args(hint)) if get_origin(hint) is Literal else []


def type_name(hint: Any) -> str:
    """Return the name of a type in messages."""
    if hint is Any:
        return "any"
    if get_origin(hint) is Literal:
        return "choice"
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    if get_origin(hint) is tuple:
        return f"list of {type_name(get_args(hint)[0])}s"
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    parts = [words.get(part.strip(), part.strip()) for part in text.split("|")]
    return " or ".join("null" if part == "None" else part for part in parts)


def _presets() -> Iterator[dict[str, Any]]:
    for folder in recipe_folders()[:1]:
        for path in sorted(Path(folder).rglob("*.yaml")):
            data = yaml.read(path).data
            yield {
                "name": str(path.relative_to(folder).with_suffix("")),
                "kind": str(data.get("kind", "ablation")),
                "summary": str(data.get("why", "")),
                "origin": str(path),
                "docs": read_text(path),
            }
