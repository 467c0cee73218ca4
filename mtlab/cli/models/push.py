"""`mtlab push`: a model to Hugging Face's hub."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.models.export_checkpoint import differences, export_model
from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import format_bytes, print_json, status_line

if TYPE_CHECKING:
    from mtlab.interop.publishing import Published


def push(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A finished run (its folder, or STUDY:VARIANT:SEED), an imported checkpoint, or a folder that "
            "`mtlab export --to hf` wrote.",
        ),
    ],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub, or NAME for one of yours.")],
    public: Annotated[
        bool, typer.Option("--public", help="Everybody may read it; else you alone, and your organisation.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Add a commit to a repository that exists; other files of it stay.")
    ] = False,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Of the commit.", show_default="what MODEL is")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a model to Hugging Face's hub: weights, configuration, preprocessor, model card, as `mtlab export` does.

    The repository is made, and private unless --public is given. The card holds the study's file as it was written,
    paths of this machine included: to read it first, export, look, and push the folder. The token is that of
    `hf auth login` or of HF_TOKEN; HF_ENDPOINT names another hub.

    Example: mtlab push mine:bridge:0 me/mine-bridge
    """
    from mtlab.interop.publishing import find_repository, is_exported, publish

    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mtlab-push-") as scratch, status_line() as log:
        log("asking the hub")
        name = find_repository(repository, update=update)
        folder = source
        if not is_exported(source):
            folder = Path(scratch) / "model"
            written, _ = export_model(source, "hf", folder, store, log)
            lines = differences(written)
        log(f"sending to {name}")
        said = message or f"mtlab: {source.name if source.exists() else source}"
        done = publish(folder, name, said, public=public, update=update)
    if as_json:
        print_json(dataclasses.asdict(done) | {"differences": lines})
    else:
        _print(done, lines)


def _print(done: Published, lines: Sequence[str]) -> None:
    typer.echo(f"sent {len(done.files)} files to {done.url} ({done.visibility}), commit {done.commit}:")
    for name, size in done.files.items():
        typer.echo(f"  {name}  {format_bytes(size)}")
    for line in lines:
        typer.echo(line)
    typer.echo(f'next: BridgeTowerModel.from_pretrained("{done.repository}")')
