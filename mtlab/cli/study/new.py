"""`mtlab new`: a study file of one's own, from a shipped recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mtlab.errors import UserError, nearest

SWEEPS = "sweeps/"  #: how the names of recipes begin that are sweeps


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new study, and of its file.")],
    recipe: Annotated[str, typer.Option("--from", metavar="RECIPE", help="Shipped recipe to copy.")] = "quickstart",
    out: Annotated[Path | None, typer.Option("--out", help="File to write.", show_default="./NAME.yaml")] = None,
) -> None:
    """Copy a shipped recipe into a study file of your own, comments kept, ready to be planned and changed."""
    from mtlab.files import write_text
    from mtlab.studies.spec import NAME

    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a study: letters, digits, - and _ (80 at most)", file="command line")
    source, path = _recipe(recipe), out or Path(f"{name}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise UserError("expected a file that ends in .yaml", file=path)
    if path.exists():
        raise UserError("is there already: choose another NAME or --out", file=path)
    write_text(path, rebased(renamed(source.read_text(encoding="utf-8"), name, source), source))
    typer.echo(f"written to {path}, from {source}")
    given = path if path.parent != Path() else path.name
    first, then = ("sweep plan", "sweep") if recipe.startswith(SWEEPS) else ("plan", "run")
    typer.echo(f"next: change it, then mtlab {first} {given} · mtlab {then} {given}")


def renamed(text: str, name: str, source: Path) -> str:
    """Replace the name of a study in its text; nothing else changes.

    Raises:
        UserError: the text has no line `name: …`.

    """
    changed, count = re.subn(r"^name:[^#\n]*?(\s*)(#.*)?$", rf"name: {name}\1\2", text, count=1, flags=re.MULTILINE)
    if not count:
        raise UserError("has no line `name: …`", file=source)
    return changed


def rebased(text: str, source: Path) -> str:
    """Call what a recipe found beside itself (bases, parent studies) by names that are found from anywhere."""
    from mtlab.config import yaml
    from mtlab.config.load import recipe_folders

    data = yaml.read(source).data
    base = data.get("base") or []
    for name in {*([base] if isinstance(base, str) else base), *_studies(data)}:
        file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
        beside = (source.parent / file).resolve()
        if not beside.is_file() or any((folder / file).is_file() for folder in recipe_folders()):
            continue
        folder = next(folder for folder in recipe_folders() if beside.is_relative_to(folder.resolve()))
        anywhere = str(beside.relative_to(folder.resolve()).with_suffix(""))
        text = _renamed_base(text, name, anywhere)
        text = re.sub(rf"(\bstudy: *['\"]?){re.escape(name)}(?![\w/.-])", rf"\g<1>{anywhere}", text)
    return text


def _renamed_base(text: str, name: str, other: str) -> str:
    """Replace a name within `base:`, up to the next key at the margin."""
    block = re.search(r"^base:.*?(?=^[^\s#-]|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if block is None:
        return text
    changed = re.sub(rf"(?<![\w/.-]){re.escape(name)}(?![\w/.-])", other, block[0])
    return text[: block.start()] + changed + text[block.end() :]


def _studies(data: object) -> Iterator[str]:
    """Find every `study: FILE` in a study's data."""
    if isinstance(data, dict):
        if isinstance(data.get("study"), str):
            yield data["study"]
        for value in data.values():
            yield from _studies(value)
    elif isinstance(data, list):
        for value in data:
            yield from _studies(value)


def recipes_by_name() -> dict[str, Path]:
    """Return the shipped recipes: name, as `mtlab plan` takes it, or sweeps/NAME for sweeps → file."""
    from mtlab.config.load import recipe_folders, sweep_recipe_folders

    found: dict[str, Path] = {}
    for folder in recipe_folders():
        for path in sorted(folder.rglob("*.yaml")):
            name = str(path.relative_to(folder).with_suffix(""))
            if not name.startswith("presets/"):
                found.setdefault(name, path)
    for folder in sweep_recipe_folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(f"{SWEEPS}{path.stem}", path)
    return found


def _recipe(name: str) -> Path:
    known = recipes_by_name()
    if name not in known:
        listed = ", ".join(sorted(known))
        hint = nearest(name, known)
        raise UserError(f"no recipe {name!r}; {hint}" + ("" if hint.startswith("known") else f" (known: {listed})"))
    return known[name]
