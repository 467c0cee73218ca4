"""`mtlab import` and `mtlab export`: published checkpoints in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mtlab.cli.common import JsonOption, StoreOption, print_json

if TYPE_CHECKING:
    from mtlab.interop.exporting import ExportSummary
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
    with _steps() as log:
        done = import_checkpoint(checkpoint, out, options, log)
    if as_json:
        import dataclasses

        print_json(dataclasses.asdict(done) | {"out": str(out)})
        return
    _tell_imported(done, out)


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
    with _steps() as log:
        done = write(source, "official" if to == "official" else "huggingface", out, log)
    if as_json:
        import dataclasses

        print_json(dataclasses.asdict(done) | {"out": str(out)})
        return
    _tell_exported(done, out, to)


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Show what is being done, on the error stream: in one changing line of a terminal, else in lines."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda step: console.print(step, soft_wrap=True, markup=False)
        return
    with console.status("starting") as status:
        yield status.update


def _tell_imported(done: ImportSummary, out: Path) -> None:
    typer.echo(f"{done.family}, task {done.task}: {done.weights} weights, {done.parameters:,} parameters")
    if done.dead:
        typer.echo(f"  {len(done.dead)} dead weights, which nothing reads, are kept for export: {_some(done.dead)}")
    if done.other_heads:
        typer.echo(f"  heads of other tasks are kept for export: {', '.join(done.other_heads)} (--task makes one live)")
    if done.initialised:
        typer.echo(f"  the checkpoint has no such head, initialised at random: {_some(done.initialised)}")
    if done.resized is not None:
        typer.echo(f"  positions resized from {done.resized[0]} to {done.resized[1]} pixels")
    if not done.tokeniser:
        typer.echo("  no tokeniser came with it: words need one; give --text roberta-base (or its folder)")
    typer.echo(
        f"written to {out}; next: set `init_from: {out}` in a study · mtlab export {out} --to official --out FILE"
    )


def _tell_exported(done: ExportSummary, out: Path, to: str) -> None:
    exact = ", as it was imported" if done.exact else ""
    typer.echo(f"{done.family}: {done.weights} weights{exact}")
    if done.left_out:
        typer.echo(f"  heads that this format has no place for are left out: {', '.join(done.left_out)}")
    for note in done.notes:
        typer.echo(f"  {note}")
    following = "BridgeTowerModel.from_pretrained" if to == "hf" else "load_path= of the authors' code"
    typer.echo(f"written to {out}; next: {following}")


def _some(names: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
