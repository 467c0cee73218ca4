"""`mtlab testbed`: the cards of testbeds, from the finished runs of their studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from mtlab.cli.options import StoreOption
from mtlab.cli.output import print_or_write, unless_unwritable, wanted_format
from mtlab.cli.stored import stored_study_name
from mtlab.errors import UserError

Format = Literal["md", "json"]


def make_card(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Study files, recipes (testbeds/…), or names of studies in the store."),
    ],
    format: Annotated[  # noqa: A002 - the option is called so
        Format | None, typer.Option("--format", help="Markdown or JSON.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json (docs/json.md).")] = False,
) -> None:
    """Make the card of a testbed: a pair of towers, a world and a length of training.

    Blind baselines, every single level, mean and bridges, the spread of seeds, the steps to the plateau, and the room:
    what the best level for each family of questions gains over the best single level for all. The last lines say what
    kinds of claims the testbed may carry. Several testbeds also stand side by side.
    """
    from rich.console import Console

    from mtlab.files import write_text
    from mtlab.report.testbed.card import build_card
    from mtlab.report.testbed.text import card_markdown, cards_json, cards_markdown, render_cards
    from mtlab.runs.store import Store, is_sweep, store_root

    wanted = wanted_format(format, out, get_args(Format), as_json=as_json)
    opened = Store.open(store_root(store))
    cards = []
    for file in files:
        plan = opened.plan(stored_study_name(file, opened))
        if is_sweep(plan):
            raise UserError("is a sweep: a testbed is a study", file=file)
        cards.append(build_card(opened, plan))
    if wanted is None:
        console = Console(highlight=False)
        console.print(render_cards(cards, console.width))
        with unless_unwritable():
            opened.check_writable()
            for card in cards:
                folder = opened.study(card.study) / "report"
                write_text(folder / "testbed.md", card_markdown(card))
                write_text(folder / "testbed.json", cards_json([card]))
                typer.echo(f"written to {folder / 'testbed.md'} and testbed.json")
        return
    print_or_write(cards_json(cards) if wanted == "json" else cards_markdown(cards), out)
