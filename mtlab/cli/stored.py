"""Stored studies and sweeps, as the command line names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.runs.store import Store


def stored_study_name(file: str, store: Store) -> str:
    """Return the name of the stored study that a file, a recipe or a name means; the file is not expanded.

    Raises:
        UserError: the store has no plan of it.

    """
    from mtlab.config.load import recipe_folders

    return _stored_name(file, store, recipe_folders(), "study {!r} has no plan in {}: `{}` makes one", "plan")


def stored_sweep_name(file: str, store: Store) -> str:
    """Return the name of the stored sweep that a file, a recipe or a name means; see `stored_study_name`."""
    from mtlab.config.load import sweep_recipe_folders

    return _stored_name(file, store, sweep_recipe_folders(), "sweep {!r} has not begun in {}: `{}` begins it", "sweep")


def stored_launch_name(file: str, store: Store) -> str:
    """Return the name of the stored study or sweep that a file, a recipe or a name means; see `stored_study_name`."""
    from mtlab.config.load import recipe_folders, sweep_recipe_folders

    folders = [*recipe_folders(), *sweep_recipe_folders()]
    return _stored_name(file, store, folders, "nothing called {!r} has been launched in {}")


def _stored_name(file: str, store: Store, folders: list[Path], missing: str, begin: str = "run") -> str:
    from mtlab.config import yaml
    from mtlab.config.load import find_study_file
    from mtlab.runs.shell_command import shell_command

    known = store.study_names()
    if file in known and not Path(file).is_file():
        return file
    folder = store.root / "studies" / file
    if not Path(file).exists() and (folder / "spec.yaml").is_file():
        from mtlab.runs.store import PLAN_ANEW

        raise UserError(f"has lost its plan: {PLAN_ANEW}", file=folder)
    path = find_study_file(file, folders, stored=known)
    name = str(yaml.read(path).data.get("name", ""))
    if name not in known:
        raise UserError(missing.format(name, store.root, shell_command(begin, file, store=store)), file=path)
    return name


def runnable_file(file: str, store: Store) -> str:
    """Return what `mtlab run` takes for a study: what was given, or where the study of this name was planned from."""
    from mtlab.config.load import find_study_file

    try:
        by_name = find_study_file(file).is_dir()  # of that name lie its data
    except UserError:
        by_name = True
    if by_name:
        planned = Path(store.plan(stored_study_name(file, store))["spec_file"])
        return str(planned) if planned.is_file() else file
    return file


def note_changed(file: str, store: Store) -> None:
    """Print a note where a study's file, or one of its bases, is no longer what its stored plan was made from."""
    from mtlab.config.load import composed_text, find_study_file
    from mtlab.runs.shell_command import writing_command

    try:
        path = find_study_file(file)
    except UserError:  # given by its name in the store
        return
    stored = store.study_text(stored_study_name(file, store))
    if stored is None or not path.is_file():
        return
    try:
        changed = stored != composed_text(path)
    except UserError as error:
        typer.echo(f"note: not as it was planned any more: {error}", err=True)
        return
    planned = Path(store.plan(stored_study_name(file, store))["spec_file"])
    if changed and planned.is_file() and not planned.samefile(path):
        typer.echo(f"note: these are the results of {planned}, a study of the same name, not of {path}", err=True)
    elif changed:
        plan = writing_command("plan", file, store=store)
        typer.echo(
            f"note: {path}, or what it is based on, has changed since it was planned; `{plan}` takes it in", err=True
        )
