"""`mtlab new`: a study file of one's own, from a shipped recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtlab.errors import UserError


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new study, and of its file.")],
    recipe: Annotated[str, typer.Option("--from", metavar="RECIPE", help="Shipped recipe to copy.")] = "quickstart",
    out: Annotated[Path | None, typer.Option("--out", help="File to write.", show_default="./NAME.yaml")] = None,
) -> None:
    """Copy a shipped recipe into a study file of your own, comments kept, ready to be planned and changed."""
    from mtlab.output_file import write_output
    from mtlab.runs.shell_command import shell_command
    from mtlab.runs.store import NAME, NAME_RULE
    from mtlab.studies.recipes import SWEEPS, copy_recipe, find_recipe

    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a study: {NAME_RULE}", file="command line")
    source, path = find_recipe(recipe), out or Path(f"{name}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise UserError("expected a file that ends in .yaml", file=path)
    if path.exists():
        raise UserError("is there already: choose another NAME or --out", file=path)
    write_output(path, copy_recipe(source, name))
    typer.echo(f"written to {path}, from {source}")
    steps = (("sweep", "plan"), ("sweep",)) if recipe.startswith(SWEEPS) else (("plan",), ("run",))
    first, then = (shell_command(*words, path) for words in steps)
    typer.echo(f"next: change it, then {first} · {then}")
