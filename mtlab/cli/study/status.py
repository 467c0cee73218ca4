"""`mtlab status`: how far studies are, read from the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.common import JsonOption, StoreOption, print_json
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.runs.store import Store


def status(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Study file or name; without it, all studies.", show_default=False),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far studies are: runs by state, step, metric, failures. Reads stored plans, never expands a file."""
    from mtlab.launch.status import study_statuses
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    names = opened.study_names() if file is None else [study_name(file, opened)]
    found = study_statuses(opened, names)
    if as_json:
        print_json([each.to_json() for each in found] if file is None else found[0].to_json())
        return
    if not found:
        typer.echo(f"no study in {opened.root}: `mtlab run quickstart` makes one")
    from rich.console import Console

    console = Console(highlight=False)
    for each in found:
        console.print(each.table() if file is not None else each.summary(), soft_wrap=file is None)
        for line in each.problems() if file is not None else []:
            console.print(line, markup=False)
    if file is not None:
        note_changed(file, opened)


def study_name(file: str, store: Store) -> str:
    """Find the stored study that a file, a recipe or a name means, without expanding anything.

    Raises:
        UserError: the store has no plan of it.

    """
    from mtlab.config import yaml
    from mtlab.config.load import find_study_file

    known = store.study_names()
    if file in known and not Path(file).is_file():
        return file
    path = find_study_file(file)
    name = str(yaml.read(path).data.get("name", ""))
    if name not in known:
        raise UserError(f"study {name!r} has no plan in {store.root}: `mtlab plan {file}` makes one", file=path)
    return name


def note_changed(file: str, store: Store) -> None:
    """Say so where a study's file is no longer what its stored plan was made from."""
    from mtlab.config.load import find_study_file

    try:
        path = find_study_file(file)
    except UserError:  # given by its name in the store
        return
    stored = store.study(study_name(file, store)) / "spec.yaml"
    if stored.is_file() and path.is_file() and stored.read_text() != path.read_text():
        typer.echo(f"note: {path} has changed since it was planned; `mtlab plan {file}` takes it in", err=True)
