"""`mtlab status`: the progress of studies, read from the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import print_json
from mtlab.cli.stored import note_changed, stored_study_name
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
    """Show the progress of studies: runs by state, step, metric, failures. Reads stored plans, never expands a file."""
    from mtlab.launch.status import study_statuses
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    names = opened.study_names() if file is None else [stored_study_name(file, opened)]
    damaged = _damaged_plans(opened, names) if file is None else {}
    statuses = study_statuses(opened, [name for name in names if name not in damaged])
    for error in damaged.values():
        typer.echo(f"damaged: {error}", err=True)
    if as_json:
        print_json([each.to_json() for each in statuses] if file is None else statuses[0].to_json())
        return
    if not names:
        typer.echo(f"no study in {opened.root}: `mtlab run quickstart` makes one")
    from rich.console import Console

    console = Console(highlight=False)
    for each in statuses:
        console.print(each.table() if file is not None else each.summary(), soft_wrap=file is None)
        if file is not None and each.looks is not None:
            console.print(f"seeds until decided: {each.looks}", markup=False)
            for comparison in each.looks.comparisons:
                console.print(f"  {comparison}", markup=False)
        for line in each.problems() if file is not None else []:
            console.print(line, markup=False)
    if file is not None:
        note_changed(file, opened)


def _damaged_plans(store: Store, names: Sequence[str]) -> dict[str, UserError]:
    """Return what is wrong with the plans of studies that cannot be read: the others are shown without them."""
    damaged = {}
    for name in names:
        try:
            store.plan(name)
        except UserError as error:
            damaged[name] = error
    return damaged
