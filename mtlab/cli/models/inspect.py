"""`mtlab inspect`: which level each word and each patch draws on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import JsonOption, PluginOption, PluginsOption, StoreOption, blame_option
from mtlab.cli.output import print_json
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.inference.inspection import Inspection


def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CHECKPOINT",
            help="STUDY:VARIANT:SEED (what is unique may be left out), a run's folder, a checkpoint in it, or the "
            "folder of an imported checkpoint.",
        ),
    ],
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="FILE", help="An image of yours; with --text.", show_default=False),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="SENTENCE", help="A sentence of yours; with --image.", show_default=False),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            "--example",
            metavar="ID|N",
            help="An example of the run's data, or the N-th recorded one.",
            show_default="the first recorded one",
        ),
    ] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Raw weights instead of contributions.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a page instead.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:N or auto.")] = "cpu",
    store: StoreOption = None,
    plugin: PluginOption = None,
    no_plugins: PluginsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show which level of its tower each word and each patch draws on, at every cross-modal layer.

    Contributions by default: the share of what a manager hands on. Examples that a run recorded are read from it; on
    others, and on your own image and sentence, the model is run.

    mtlab inspect quickstart:adaptive:0 · mtlab inspect quickstart:adaptive:0 --image cat.jpg --text "What is it?" ·
    mtlab inspect quickstart:adaptive:0 --html tokens.html
    """
    from rich.console import Console

    from mtlab.config.plugins import import_named_plugins
    from mtlab.inference.inspection import inspect as look
    from mtlab.inference.inspection import summary
    from mtlab.runs.store import store_root

    if as_json and html is not None:
        raise UserError("--html and --json contradict each other: give one", file="command line")
    if (image is None) != (text is None):
        given, other = ("--image", "--text SENTENCE") if text is None else ("--text", "--image FILE")
        raise UserError(f"goes with {other}: a model reads an image and a sentence together", key=given)
    if image is not None and example is not None:
        raise UserError("names an example, which has an image and a sentence of its own", key="--example")
    pair = None if image is None or text is None else (image.expanduser(), text)
    import_named_plugins(plugin or [])
    with blame_option("--device", "train.device"), Console(stderr=True).status("running the model"):
        found = look(
            target,
            store_root(store),
            pair=pair,
            example=example,
            device=device,
            plugins=not no_plugins,
            named=plugin or [],
        )
    if as_json:
        print_json(summary(found, "weights" if weights else "contributions"))
    elif html is not None:
        _write(found, html)
    else:
        _print(found, weights=weights)


def _print(found: Inspection, *, weights: bool) -> None:
    from rich.console import Console

    from mtlab.report.formats.token_terminal import render_tokens

    console = Console(highlight=False, emoji=False)
    console.print(f"{found.title} ({found.about})", markup=False, style="bold")
    console.print(render_tokens(found.tokens, found.example, "weights" if weights else "contributions", console.width))
    for remark in found.remarks:
        console.print(f"! {remark}", markup=False, style="yellow")
    others = [each.id for each in found.tokens.examples if each.id and each is not found.tokens.examples[found.example]]
    if others:
        number = len(found.tokens.examples)
        hint = f"{len(others)} more examples are recorded: --example 1 to {number}, or by id, such as {others[0]}"
        console.print(f"{hint}; all on a page: --html OUT", markup=False, style="dim")


def _write(found: Inspection, path: Path) -> None:
    from mtlab.output_file import write_output
    from mtlab.report.page.token_page import RecordedRun, token_page

    write_output(path, token_page(RecordedRun(found.title, found.tokens, found.load_image, found.example), found.about))
    typer.echo(f"written to {path}: open it in a browser, it needs no network")
