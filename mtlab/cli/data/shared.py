"""Arguments, and the table of an index, shared by the commands on shards."""

from __future__ import annotations

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
