"""`mtlab data convert`: raw files of a public data set into shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli.data.shared import parse_options, print_index
from mtlab.cli.output import progress_bars


def convert(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="vqav2, snli_ve, nlvr2, flickr30k, coco, cc3m, sbu, vg; jsonl for your own."
        ),
    ],
    root: Annotated[Path, typer.Option(help="Folder of the raw files.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the shards.", show_default=False)],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Options of the converter: `mtlab list converters NAME`.",
            show_default=False,
        ),
    ] = None,
    parts: Annotated[
        str | None, typer.Option(metavar="PART,PART", help="Only these splits.", show_default="all")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that write shards.", show_default="one per core")
    ] = None,
    max_bad: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of texts that may be bad before all is refused.")
    ] = 0.01,
) -> None:
    """Convert a data set from its public raw files into WebDataset shards.

    mtlab data convert flickr30k --root ~/raw --out shards/flickr30k

    Which files are expected below --root: docs/data.md, or `mtlab list converters NAME`. Memory stays the same however
    large the data are; after Ctrl-C the same command resumes. The shards are the same whatever the number of
    workers. Images keep their bytes. What cannot be used is counted, and listed in bad.jsonl with its place and the
    reason.
    """
    from mtlab.data.shards.index import INDEX, suspicious_sizes
    from mtlab.data.shards.writing.convert import convert
    from mtlab.launch.local.pool import usable_cpus
    from mtlab.runs.shell_command import shell_command

    given, finished = parse_options(options or []), (out.expanduser() / INDEX).is_file()
    try:
        with progress_bars() as progress:
            index = convert(
                name,
                root.expanduser(),
                out.expanduser(),
                given,
                parts=tuple(filter(None, (parts or "").split(","))),
                workers=workers or usable_cpus(),
                max_bad=max_bad,
                progress=progress,
            )
    except KeyboardInterrupt:
        typer.echo("stopped: the same command again goes on where this was", err=True)
        raise
    print_index(index)
    if finished:
        typer.echo(f"note: {out} was finished before and is not changed: to convert anew, remove it", err=True)
    for remark in suspicious_sizes(index):
        typer.echo(f"note: {remark}")
    typer.echo(f"\nshards: {out}")
    typer.echo(f"next: {' · '.join(shell_command('data', word, out) for word in ('check', 'sample'))}")
