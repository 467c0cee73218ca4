"""`mtlab export`: a model in a published format."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import print_json, status_line

if TYPE_CHECKING:
    from mtlab.interop.exporting import ExportSummary


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="An imported checkpoint's folder; or a finished run: its folder, or STUDY:VARIANT:SEED.",
        ),
    ],
    to: Annotated[
        Literal["official", "hf"],
        typer.Option(help="official: the authors' .ckpt; hf: a folder of Hugging Face's BridgeTower."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File (official) or folder (hf) to write; it must not exist.")
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model in a published format, or say which of its settings that format cannot hold.

    A checkpoint that was imported comes out as it went in, dead weights included, bit for bit.

    Example: mtlab export bridgetower --to hf --out bridgetower-hf
    """
    from mtlab.interop.exporting import export as write
    from mtlab.runs.find_run import find_run
    from mtlab.runs.store import store_root

    if not source.exists() and ":" in str(source):
        source = find_run(str(source), store_root(store)).folder
    with status_line() as log:
        done = write(source, "official" if to == "official" else "huggingface", out, log)
    if as_json:
        print_json(dataclasses.asdict(done) | {"out": str(out)})
        return
    _print_result(done, out, to)


def _print_result(done: ExportSummary, out: Path, to: str) -> None:
    exact = ", as it was imported" if done.exact else ""
    typer.echo(f"{done.family}: {done.weights} weights{exact}")
    if done.left_out:
        typer.echo(f"  heads that this format has no place for are left out: {', '.join(done.left_out)}")
    for note in done.notes:
        typer.echo(f"  {note}")
    of_transformers = "from_pretrained of BridgeTowerModel and BridgeTowerProcessor"
    following = of_transformers if to == "hf" else "load_path= of the authors' code"
    typer.echo(f"written to {out}; next: {following}")
