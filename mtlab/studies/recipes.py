"""Copies of shipped recipes: their names, and their text under another name and in another folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mtlab.config import load, yaml
from mtlab.errors import UserError, nearest

SCHEMA_LINE = r"^# yaml-language-server: \$schema=(\S+)"  #: the first line of recipes
SWEEPS = "sweeps/"  #: prefix of the names of recipes that are sweeps


def list_recipes() -> dict[str, Path]:
    """Return the shipped recipes: name, as `mtlab plan` takes it, or sweeps/NAME for sweeps → file."""
    recipes: dict[str, Path] = {}
    for folder in load.recipe_folders():
        for path in sorted(folder.rglob("*.yaml")):
            name = str(path.relative_to(folder).with_suffix(""))
            if not name.startswith("presets/"):
                recipes.setdefault(name, path)
    for folder in load.sweep_recipe_folders():
        for path in sorted(folder.glob("*.yaml")):
            recipes.setdefault(f"{SWEEPS}{path.stem}", path)
    return recipes


def find_recipe(name: str) -> Path:
    """Return the file of a shipped recipe.

    Raises:
        UserError: there is none of this name.

    """
    known = list_recipes()
    if name not in known:
        listed = ", ".join(sorted(known))
        hint = nearest(name, known)
        raise UserError(f"no recipe {name!r}; {hint}" + ("" if hint.startswith("known") else f" (known: {listed})"))
    return known[name]


def copy_recipe(source: Path, name: str) -> str:
    """Return the text of a recipe under another name, with references that are valid in any folder.

    Raises:
        UserError: the text has no line `name: …`.

    """
    return rebase(rename(source.read_text(encoding="utf-8"), name, source), source)


def rename(text: str, name: str, source: Path) -> str:
    """Replace the name of a study in its text; nothing else changes.

    Raises:
        UserError: the text has no line `name: …`.

    """
    written = name if yaml.scalar(name) == name else f"'{name}'"  # YAML would take it for a number, say
    changed, count = re.subn(r"^name:[^#\n]*?(\s*)(#.*)?$", rf"name: {written}\1\2", text, count=1, flags=re.MULTILINE)
    if not count:
        raise UserError("has no line `name: …`", file=source)
    return changed


def rebase(text: str, source: Path) -> str:
    """Replace references to files beside the recipe (bases, parent studies) by names that are valid in any folder.

    The schema of the file becomes an absolute path.
    """
    data = yaml.read(source).data
    named = re.match(SCHEMA_LINE, text)
    if named is not None:
        text = text[: named.start(1)] + str((source.parent / named[1]).resolve()) + text[named.end(1) :]
    base = data.get("base") or []
    for name in {*([base] if isinstance(base, str) else base), *_parent_studies(data)}:
        file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
        beside = (source.parent / file).resolve()
        if not beside.is_file() or any((folder / file).is_file() for folder in load.recipe_folders()):
            continue
        folder = next(folder for folder in load.recipe_folders() if beside.is_relative_to(folder.resolve()))
        absolute = str(beside.relative_to(folder.resolve()).with_suffix(""))
        text = _replace_base(text, name, absolute)
        text = re.sub(rf"(\bstudy: *['\"]?){re.escape(name)}(?![\w/.-])", rf"\g<1>{absolute}", text)
    return text


def _replace_base(text: str, name: str, other: str) -> str:
    """Replace a name within `base:`, up to the next key at the margin."""
    block = re.search(r"^base:.*?(?=^[^\s#-]|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if block is None:
        return text
    changed = re.sub(rf"(?<![\w/.-]){re.escape(name)}(?![\w/.-])", other, block[0])
    return text[: block.start()] + changed + text[block.end() :]


def _parent_studies(data: object) -> Iterator[str]:
    """Yield every `study: FILE` in a study's data."""
    if isinstance(data, dict):
        if isinstance(data.get("study"), str):
            yield data["study"]
        for value in data.values():
            yield from _parent_studies(value)
    elif isinstance(data, list):
        for value in data:
            yield from _parent_studies(value)
