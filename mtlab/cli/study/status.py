"""`mtlab status`: the progress of studies, read from the store alone."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import print_json
from mtlab.cli.stored import note_changed, stored_study_name
from mtlab.errors import UserError

if TYPE_CHECKING:
    from rich.console import Group

    from mtlab.launch.status import StudyStatus
    from mtlab.runs.store import Store

INTERVAL = 2.0  #: seconds between two looks of `--watch`
ENDED = frozenset({"done", "failed", "blocked", "pruned"})


def status(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Study file or name; without it, all studies.", show_default=False),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Show it again every two seconds, until all runs have ended or been stopped; or Ctrl-C."
        ),
    ] = False,
) -> None:
    """Show the progress of studies: runs by state, step, metric, failures. Reads stored plans, never expands a file."""
    from mtlab.launch.status import study_statuses
    from mtlab.runs.shell_command import shell_command
    from mtlab.runs.store import Store, store_root

    if watch and as_json:
        raise UserError("--watch and --json contradict each other: give one", file="command line")
    opened = Store.open(store_root(store))
    names = opened.study_names() if file is None else [stored_study_name(file, opened)]
    damaged = _damaged_studies(opened, names) if file is None else {}
    names = [name for name in names if name not in damaged]
    for error in damaged.values():
        typer.echo(f"damaged: {error}", err=True)
    if as_json:
        found = [each.to_json() for each in study_statuses(opened, names)]
        print_json(found if file is None else found[0])
        return
    if not names and not damaged:
        typer.echo(f"no study in {opened.root}: `{shell_command('run', 'quickstart', store=opened)}` makes one")
    elif watch:
        _watch(opened, names, single=file is not None)
    else:
        from rich.console import Console

        shown = _shown(study_statuses(opened, names), single=file is not None)
        Console(highlight=False).print(shown, soft_wrap=file is None)
    if file is not None:
        note_changed(file, opened)


def _shown(statuses: Sequence[StudyStatus], *, single: bool) -> Group:
    """Return what the terminal shows: a study with its runs and problems, or a line for each study."""
    from rich.console import Group
    from rich.text import Text

    if not single:
        return Group(*(Text(each.summary()) for each in statuses))
    (study,) = statuses
    if study.sweep and not study.runs:
        return Group(Text(study.summary()))
    lines = study.problems()
    if study.looks is not None:
        comparisons = [f"  {comparison}" for comparison in study.looks.comparisons]
        lines = [f"seeds until decided: {study.looks}", *comparisons, *lines]
    return Group(study.table(), *map(Text, lines))


def _watch(store: Store, names: Sequence[str], *, single: bool) -> None:
    """Show the status anew until no run is left that runs, waits or could begin, and no launcher that may add some.

    Runs that nobody works on are waited for only where no launcher has begun yet.
    """
    from rich.console import Console
    from rich.live import Live

    from mtlab.launch.status import study_statuses

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            statuses = study_statuses(store, names)
            live.update(_shown(statuses, single=single), refresh=True)
            if not any(_goes_on(store, name, each.counts.keys()) for name, each in zip(names, statuses, strict=True)):
                return
            time.sleep(INTERVAL)


def _goes_on(store: Store, study: str, states: Set[str]) -> bool:
    """Return whether a study that has runs in these states may change: see `_watch`."""
    from mtlab.workflow.detached import find_launchers

    launchers = find_launchers(store, study)
    if states <= ENDED:
        return bool(launchers.here)  # it may ask for more seeds
    begun = (store.study(study) / "launch.jsonl").exists()
    return bool(launchers.here or launchers.elsewhere or not begun or not states <= ENDED | {"new", "interrupted"})


def _damaged_studies(store: Store, names: Sequence[str]) -> dict[str, UserError]:
    """Return what is wrong with the plans and looks of studies that cannot be read: the others are shown without."""
    from mtlab.studies.looks import read_looks

    damaged = {}
    for name in names:
        try:
            read_looks(store, store.plan(name))
        except UserError as error:
            damaged[name] = error
    return damaged
