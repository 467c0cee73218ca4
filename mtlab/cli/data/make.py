"""`mtlab data make`: a built-in data set as raw files in a public layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli.data.shared import parse_options
from mtlab.cli.output import progress_bars


def make(
    world: Annotated[
        str,
        typer.Argument(
            metavar="WORLD",
            help="shapes, layered, shapes_captions, shapes_pairs, shapes_entailment, pictograms, clipart; "
            "any other of `mtlab list datasets`.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the raw files; it must not exist.", show_default=False)],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Options of the data set: `mtlab list datasets WORLD`.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a built-in data set as raw files, in the layout of the public data set of its kind.

    mtlab data make shapes_pairs --out raw/pairs train=2000

    Questions are laid out as VQAv2, entailment as SNLI-VE, pairs of pictures as NLVR², captions as Flickr30K. What
    converters, loaders and tasks do with the public data can so be tried without them. The folder is there whole or
    not at all.
    """
    from mtlab.data.raw.make import make
    from mtlab.runs.shell_command import shell_command

    with progress_bars() as progress:
        made = make(world, parse_options(options or []), out.expanduser(), progress)
    sizes = ", ".join(f"{size:,} {split}" for split, size in made.sizes.items())
    typer.echo(f"{world}: {sizes}, in the layout of {made.layout}")
    typer.echo(f"raw files: {out}")
    counted = ["min_count=1"] if made.layout == "vqav2" else []  # few questions have few answers of a kind
    convert = shell_command("data", "convert", made.layout, "--root", out, "--out", f"shards/{world}", *counted)
    typer.echo(f"next: {convert}")
