"""Arguments, the table of an index and the progress of several tasks, shared by the commands on shards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.output import make_table

if TYPE_CHECKING:
    from mtlab.data.shards.folder import ShardFolder
    from mtlab.data.shards.index import ShardIndex

Location = Annotated[
    str,
    typer.Argument(metavar="SHARDS", help="Folder of shards, http(s)://…, or pipe:COMMAND with {} for a file's name."),
]
PipeOption = Annotated[bool, typer.Option("--allow-pipe", help="Run the command of a pipe:COMMAND.")]


def open_shards(location: str, *, allow_pipe: bool) -> ShardFolder:
    """Open a folder of shards."""
    from mtlab.data.shards.folder import ShardFolder

    return ShardFolder(location, allow_pipe=allow_pipe)


def parse_options(written: list[str]) -> dict[str, Any]:
    """Parse options of the command line, KEY=VALUE each."""
    from mtlab.config.load import parse_override

    return {key.removeprefix("set."): value for key, value in map(parse_override, written)}


def print_index(index: ShardIndex) -> None:
    """Print the numbers of images and texts by part."""
    from rich.console import Console

    columns = ("pairs" if index.kind == "pairs" else "images", "texts", "left out")
    table = make_table("part", numbers=columns, title=f"{index.name}: {index.kind}")
    for name, part in index.parts.items():
        table.add_row(name, f"{part.images:,}", f"{part.texts():,}", _unusable(part))
        for subset in part.subsets:
            table.add_row(f"{name}/{subset}", "", f"{part.texts(subset):,}", "")
    Console(highlight=False, emoji=False).print(table)


def _unusable(part: Any) -> str:
    words = [f"{count:,} {word}" for count, word in ((part.bad, "bad"), (part.missing, "missing")) if count]
    return ", ".join(words) or "–"


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show bars on a terminal, else a line for every tenth, on the error stream; yield their callback."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    tenths: dict[str, int] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def update(what: str, done: int, whole: int | None) -> None:
            if console.is_terminal:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=whole)
                bar.update(tasks[what], completed=done, total=whole)
            elif whole and (tenth := done * 10 // whole) > tenths.get(what, -1):
                tenths[what] = tenth
                print(f"{what}: {done:,} of {whole:,}", file=sys.stderr, flush=True)

        yield update
