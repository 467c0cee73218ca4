"""`mtlab data sample`: a contact sheet of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli.data.shared import Location, PipeOption, open_shards
from mtlab.errors import UserError


def sample(
    location: Location,
    selection: Annotated[
        str | None,
        typer.Argument(metavar="[PART]", help="train, val/answerable, val\\[:-1000], …", show_default="first part"),
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, max=400, help="How many.")] = 24,
    seed: Annotated[int, typer.Option(help="Another one, other samples.")] = 0,
    out: Annotated[Path | None, typer.Option(help="PNG file.", show_default="NAME-PART.png")] = None,
    allow_pipe: PipeOption = False,
) -> None:
    """Draw a contact sheet: samples of shards with their texts and what is right of them, as a PNG."""
    from mtlab.data.shards.writing.contact_sheet import contact_sheet
    from mtlab.output_file import output_file

    shards = open_shards(location, allow_pipe=allow_pipe)
    chosen = selection or next(iter(shards.index.parts))
    path = out or Path(f"{shards.index.name}-{chosen.replace('/', '-')}.png")
    if path.suffix.lower() != ".png":
        raise UserError("name a PNG file", file=path, key="--out")
    sheet = contact_sheet(shards, chosen, count, seed)
    with output_file(path) as scratch:
        sheet.save(scratch, "PNG")
    typer.echo(f"contact sheet: {path}")
