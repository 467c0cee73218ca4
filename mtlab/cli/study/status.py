"""`mtlab status`: the progress of studies, read from the store alone."""

from __future__ import annotations

from typing import Annotated

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import print_json
from mtlab.cli.stored import note_changed, stored_study_name


def status(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Study file or name; without it, all studies.", show_default=False),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of studies: runs by state, step, metric, failures. Reads stored plans, never expands a file."""
    from mtlab.launch.status import study_statuses
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    names = opened.study_names() if file is None else [stored_study_name(file, opened)]
    statuses = study_statuses(opened, names)
    if as_json:
        print_json([each.to_json() for each in statuses] if file is None else statuses[0].to_json())
        return
    if not statuses:
        typer.echo(f"no study in {opened.root}: `mtlab run quickstart` makes one")
    from rich.console import Console

    console = Console(highlight=False)
    for each in statuses:
        console.print(each.table() if file is not None else each.summary(), soft_wrap=file is None)
        for line in each.problems() if file is not None else []:
            console.print(line, markup=False)
    if file is not None:
        note_changed(file, opened)
