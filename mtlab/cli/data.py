"""`mtlab data`: from raw files to shards, and a look at what is in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.common import JsonOption, print_json, size
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.data.shards.folder import ShardFolder
    from mtlab.data.shards.index import ShardIndex

SHOWN = 20  #: problems that are printed

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Convert data sets into shards, and look at them: make, convert, info, check, sample.",
)
Location = Annotated[
    str,
    typer.Argument(metavar="SHARDS", help="Folder of shards, http(s)://…, or pipe:COMMAND with {} for a file's name."),
]
PipeOption = Annotated[bool, typer.Option("--allow-pipe", help="Run the command of a pipe:COMMAND.")]


@app.command()
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
    large the data are; Ctrl-C and the same command again: it goes on. The shards are the same whatever the number of
    workers. Images keep their bytes. What cannot be used is counted, and listed in bad.jsonl with its place and the
    reason.
    """
    from mtlab.data.shards.index import suspicious_sizes
    from mtlab.data.shards.writing.convert import convert
    from mtlab.launch.local import usable_cpus

    given = options_given(options or [])
    try:
        with progress_shown() as progress:
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
    _print(index)
    for remark in suspicious_sizes(index):
        typer.echo(f"note: {remark}")
    typer.echo(f"\nshards: {out}")
    typer.echo(f"next: mtlab data check {out} · mtlab data sample {out}")


@app.command()
def info(location: Location, as_json: JsonOption = False, allow_pipe: PipeOption = False) -> None:
    """Tell what a folder of shards holds: splits, counts, answers, where it came from."""
    shards = _opened(location, allow_pipe=allow_pipe)
    index = shards.index
    if as_json:
        print_json(_as_data(shards))
        return
    _print(index)
    pieces = [shard.bytes for part in index.parts.values() for shard in part.shards]
    typer.echo(f"\n{len(pieces)} shards, {size(sum(pieces))} · digest {shards.digest[:16]}")
    if shards.answers:
        shown = ", ".join(shards.answers[:8])
        typer.echo(f"{len(shards.answers):,} answers: {shown}{', …' if len(shards.answers) > 8 else ''}")
    options = ", ".join(f"{key}={value}" for key, value in index.options.items())
    typer.echo(f"converter {index.name}, version {index.version}{f', {options}' if options else ''}")
    typer.echo(f"made from: {', '.join(index.sources)}")


@app.command()
def check(
    location: Location,
    quick: Annotated[bool, typer.Option("--quick", help="Do not decode the images.")] = False,
    as_json: JsonOption = False,
    allow_pipe: PipeOption = False,
) -> None:
    """Check shards: checksums, structure, names and types of members, counts, labels, ids, images, splits.

    Exit code 2 if something is wrong; each problem is told on a line of its own.
    """
    from mtlab.data.shards.check import check_shards

    shards = _opened(location, allow_pipe=allow_pipe)
    with progress_shown() as progress:
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


@app.command()
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
    from mtlab import files
    from mtlab.data.shards.writing.contact_sheet import contact_sheet

    shards = _opened(location, allow_pipe=allow_pipe)
    chosen = selection or next(iter(shards.index.parts))
    path = out or Path(f"{shards.index.name}-{chosen.replace('/', '-')}.png")
    if path.suffix.lower() != ".png":
        raise UserError("name a PNG file", file=path, key="--out")
    sheet = contact_sheet(shards, chosen, count, seed)
    with files.atomic_write(path) as scratch:
        sheet.save(scratch, "PNG")
    typer.echo(f"contact sheet: {path}")


def _opened(location: str, *, allow_pipe: bool) -> ShardFolder:
    from mtlab.data.shards.folder import ShardFolder

    return ShardFolder(location, allow_pipe=allow_pipe)


def options_given(written: list[str]) -> dict[str, Any]:
    """Read options from the command line, KEY=VALUE each."""
    from mtlab.config.load import parse_override

    return {key.removeprefix("set."): value for key, value in map(parse_override, written)}


def _print(index: ShardIndex) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{index.name}: {index.kind}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("part", style="cyan", no_wrap=True)
    for column in ("pairs" if index.kind == "pairs" else "images", "texts", "left out"):
        table.add_column(column, justify="right")
    for name, part in index.parts.items():
        table.add_row(name, f"{part.images:,}", f"{part.texts():,}", _left_out(part))
        for subset in part.subsets:
            table.add_row(f"{name}/{subset}", "", f"{part.texts(subset):,}", "")
    Console(highlight=False, emoji=False).print(table)


def _left_out(part: Any) -> str:
    told = [f"{count:,} {word}" for count, word in ((part.bad, "bad"), (part.missing, "missing")) if count]
    return ", ".join(told) or "–"


def _as_data(shards: ShardFolder) -> dict[str, Any]:
    index = shards.index
    return {
        "format": 1,
        "name": index.name,
        "kind": index.kind,
        "digest": shards.digest,
        "converter": {"version": index.version, "options": dict(index.options)},
        "sources": index.sources,
        "answers": list(shards.answers),
        "parts": {
            name: {
                "images": part.images,
                "texts": part.texts(),
                "subsets": {subset: part.texts(subset) for subset in part.subsets},
                "bad": part.bad,
                "missing": part.missing,
                "shards": len(part.shards),
                "bytes": sum(shard.bytes for shard in part.shards),
            }
            for name, part in index.parts.items()
        },
    }


@contextmanager
def progress_shown() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar on a terminal, and elsewhere a line for every tenth, on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    tenths: dict[str, int] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def tell(what: str, done: int, whole: int | None) -> None:
            if console.is_terminal:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=whole)
                bar.update(tasks[what], completed=done, total=whole)
            elif whole and (tenth := done * 10 // whole) > tenths.get(what, -1):
                tenths[what] = tenth
                print(f"{what}: {done:,} of {whole:,}", file=sys.stderr, flush=True)

        yield tell
