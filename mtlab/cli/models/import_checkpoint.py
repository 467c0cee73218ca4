"""`mtlab import`: a published checkpoint as a model of ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import JsonOption
from mtlab.cli.output import print_json, status_line

if TYPE_CHECKING:
    from mtlab.interop.importing import ImportSummary


def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="The authors' .ckpt of METER, BridgeTower or ManagerTower, or a folder of Hugging Face's BridgeTower.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; it must not exist.")],
    text: Annotated[
        str | None,
        typer.Option(help="Take tokeniser and settings of the text tower from this model folder or hub name."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Whose heads to keep live: pretraining, retrieval, question_answering, entailment, reasoning.",
            show_default="that of the checkpoint's heads",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Resize the vision tower's positions to images of this side, pixels, as published."),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Attention heads of the cross-modal layers.", show_default="checkpoint's, else width / 64"
        ),
    ] = None,
    text_heads: Annotated[
        int | None,
        typer.Option(min=1, help="Attention heads of the text tower.", show_default="checkpoint's, else width / 64"),
    ] = None,
    vision_heads: Annotated[
        int | None, typer.Option(min=1, help="Attention heads of the vision tower.", show_default="width / 64")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a published checkpoint into a model of ours. Every weight is accounted for, or nothing is written.

    All sizes are read off the weights. The folder can be fine-tuned from (`init_from: DIR` in a study), loaded
    (`mtlab.load("DIR")`) and exported again, bit for bit. Pickled code is never run.

    Example: mtlab import managertower_base.ckpt --out managertower --text roberta-base --image-size 384
    """
    from mtlab.interop.architecture import Hyperparameters
    from mtlab.interop.importing import ImportOptions, import_checkpoint

    options = ImportOptions(
        task=task,
        image_size=image_size,
        text=text,
        hyperparameters=Hyperparameters(heads=heads, text_heads=text_heads, vision_heads=vision_heads),
    )
    with status_line() as log:
        done = import_checkpoint(checkpoint, out, options, log)
    if as_json:
        print_json(dataclasses.asdict(done) | {"out": str(out)})
        return
    _print_result(done, out)


def _print_result(done: ImportSummary, out: Path) -> None:
    from mtlab.interop.weight_names import list_names
    from mtlab.runs.shell_command import shell_command

    typer.echo(f"{done.family}, task {done.task}: {done.weights} weights, {done.parameters:,} parameters")
    if done.dead:
        typer.echo(
            f"  {len(done.dead)} dead weights, which nothing reads, are kept for export: {list_names(done.dead)}"
        )
    if done.other_heads:
        typer.echo(f"  heads of other tasks are kept for export: {', '.join(done.other_heads)} (--task makes one live)")
    if done.drawn:
        typer.echo(f"  the checkpoint has no such head, initialised at random: {list_names(done.drawn)}")
    if done.resized is not None:
        typer.echo(f"  positions resized from {done.resized[0]} to {done.resized[1]} pixels")
    if not done.tokeniser:
        typer.echo("  no tokeniser came with it: words need one; give --text roberta-base (or its folder)")
    export = shell_command("export", out, "--to", "official", "--out", "FILE")
    typer.echo(f"written to {out}; next: set `init_from: {out}` in a study · {export}")
