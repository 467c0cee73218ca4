"""`mtlab verify`: is our model, or our manager, the published one, tensor by tensor?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.output import make_table, print_json
from mtlab.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from mtlab.interop.verification import Verification

Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="BUNDLE...",
        help="Folders with state_dict.safetensors, io.safetensors and config.json (see docs/fidelity.md).",
    ),
]


def verify(
    folders: Folders,
    as_json: Annotated[bool, typer.Option("--json", help="Print every quantity as JSON with stable keys.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a document.")] = False,
) -> None:
    """Rebuild published models as ours and compare all that they gave: layers, features, weights, logits, losses.

    A bundle holds the weights, inputs and outputs of a model, or of a single mechanism, with its gradients. Agreement
    is |ours − theirs| ≤ 1e-5 + 1e-5 · |theirs| in float32 on the CPU, of a mechanism 1e-5 (gradients: 1e-3) of a
    tensor's largest entry. Exit code 1: something disagrees; 2: our managers cannot express a mechanism.
    """
    from mtlab.data.progress import track
    from mtlab.interop.verification import verify as verify_one

    if as_json and as_markdown:
        raise UserError("--json and --markdown exclude each other: choose one")
    found = [verify_one(folder) for folder in track(folders, "verifying", len(folders), few=1)]
    if as_json:
        print_json({"ok": all(one.ok for one in found), "bundles": [one.to_json() for one in found]})
    elif as_markdown:
        typer.echo(markdown(found))
    else:
        show(found)
    if any(one.differs for one in found):
        raise typer.Exit(1)
    if not all(one.ok for one in found):
        raise typer.Exit(2)


def show(found: list[Verification]) -> None:
    """Print a line a bundle, or of a single one a line a quantity; then what disagrees, and the sum of it."""
    from rich.console import Console

    console = Console(highlight=False)
    compared = [one for one in found if one.quantities]
    if compared:
        console.print(_in_detail(found[0]) if len(found) == 1 else _in_short(compared))
    for one in found:
        if one.lacks is not None:
            console.print(f"[yellow]cannot be expressed[/]: {one.folder.name} – {one.lacks}", soft_wrap=True)
        for start, why in one.parts_lacking.items():
            console.print(f"[yellow]cannot be expressed[/]: {start}… of {one.folder.name} – {why}", soft_wrap=True)
        if len(found) > 1 and one.differs:
            wrong = ", ".join(
                f"{quantity.name} {quantity.largest:.1e}" for quantity in one.quantities if not quantity.ok
            )
            console.print(f"[red]✗ {one.folder.name}[/]: {wrong}")
        if one.not_compared:
            console.print(f"[yellow]not compared[/] in {one.folder.name}: {', '.join(one.not_compared)}")
    agreeing, count = sum(one.ok for one in compared), sum(len(one.quantities) for one in compared)
    colour, sign = ("green", "✓") if agreeing == len(compared) else ("red", "✗")
    bounds = {"|ours − theirs| ≤ 1e-5 + 1e-5 · |theirs|": False, "≤ 1e-5, gradients 1e-3, of the largest entry": True}
    used = [bound for bound, single in bounds.items() if any(one.mechanism == single for one in compared)]
    if compared:
        console.print(
            f"[{colour}]{sign} {agreeing} of {len(compared)} bundles agree[/] in all that is compared "
            f"({count} quantities; {'; mechanisms '.join(used)})"
        )


def _in_short(found: list[Verification]) -> Table:
    from rich.text import Text

    from mtlab.interop.reference_outputs import GROUPS

    table = make_table("differences in", numbers=GROUPS)
    table.show_edge, table.padding = False, (0, 0, 0, 0)
    for one in found:
        cells = []
        for name in GROUPS:
            largest = one.largest(name)
            style = "green" if one.group_ok(name) else "bold red"
            cells.append(Text("–", "dim") if largest is None else Text(_short(largest), style))
        table.add_row(one.folder.name, *cells)
    return table


def _short(value: float) -> str:
    """Write a number in as little space as it takes: 3e-6."""
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e") if value else "0"


def _in_detail(one: Verification) -> Table:
    from rich.text import Text

    table = make_table(one.folder.name, numbers=("largest difference", ""))
    for quantity in one.quantities:
        sign = Text("✓", "green") if quantity.ok else Text("✗", "bold red")
        table.add_row(quantity.name, f"{quantity.largest:.1e}", sign)
    return table


def markdown(found: list[Verification]) -> str:
    """Write a table of bundles by groups of quantities, for a document."""
    from mtlab.interop.reference_outputs import GROUPS

    lines = [f"| bundle | quantities | {' | '.join(GROUPS)} | |", f"|---|--:|{'--:|' * len(GROUPS)}---|"]
    for one in found:
        largest = [one.largest(name) for name in GROUPS]
        cells = ["–" if value is None else _short(value) for value in largest]
        verdict = "agrees" if one.ok else "**disagrees**" if one.lacks is None else f"cannot be expressed: {one.lacks}"
        lines.append(f"| `{one.folder.name}` | {len(one.quantities)} | {' | '.join(cells)} | {verdict} |")
    return "\n".join(lines)
