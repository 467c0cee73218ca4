"""`mtlab data check`: are shards complete and readable?"""

from __future__ import annotations

from typing import Annotated

import typer

from mtlab.cli.data.shared import Location, PipeOption, open_shards
from mtlab.cli.options import JsonOption
from mtlab.cli.output import print_json, progress_bars

SHOWN = 20  #: problems that are printed


def check(
    location: Location,
    quick: Annotated[bool, typer.Option("--quick", help="Do not decode the images.")] = False,
    as_json: JsonOption = False,
    allow_pipe: PipeOption = False,
) -> None:
    """Check shards: checksums, structure, names and types of members, counts, labels, ids, images, splits.

    Exit code 2 if something is wrong; each problem is printed on a line of its own.
    """
    from mtlab.data.shards.check import check_shards

    shards = open_shards(location, allow_pipe=allow_pipe)
    with progress_bars() as progress:
        found = check_shards(
            shards, images=not quick, progress=lambda done, whole: progress("checking shards", done, whole)
        )
    if as_json:
        print_json({"format": 1, "problems": found.problems, "remarks": found.remarks, "samples": found.samples})
        raise typer.Exit(2 if found.problems else 0)
    for problem in found.problems[:SHOWN]:
        typer.echo(f"error: {problem}", err=True)
    if len(found.problems) > SHOWN:
        typer.echo(f"error: … and {len(found.problems) - SHOWN} more (--json lists all)", err=True)
    for remark in found.remarks:
        typer.echo(f"note: {remark}")
    if found.problems:
        raise typer.Exit(2)
    decoded = "images not decoded" if quick else f"{found.images:,} images decoded"
    typer.echo(f"{shards.storage.name}: as it should be ({found.samples:,} samples, {decoded})")
