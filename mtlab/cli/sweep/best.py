"""`mtlab sweep best`: the best settings of each variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import JsonOption, StoredSweep, StoreOption
from mtlab.cli.output import print_json
from mtlab.cli.stored import stored_sweep_name
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.sweeps.stored import StoredSearch
    from mtlab.sweeps.winners import Winner


def best(
    file: StoredSweep,
    as_: Annotated[
        Path | None,
        typer.Option("--as", metavar="FILE", help="Write the winners as an ablation recipe.", show_default=False),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="With several objectives: all that no other trial beats.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the best settings of each variant; with --as, write them as an ablation that plans and runs."""
    from mtlab.config.check import check_config
    from mtlab.files import write_text
    from mtlab.runs.shell_command import shell_command
    from mtlab.runs.store import NAME, NAME_RULE, Store, store_root
    from mtlab.sweeps.spec import FinalRules
    from mtlab.sweeps.stored import check_is_sweep, open_sweep
    from mtlab.sweeps.winners import describe_groups, group_winners, to_yaml, winners, winners_study

    opened = Store.open(store_root(store))
    stored = opened.plan(stored_sweep_name(file, opened))
    check_is_sweep(stored)
    if as_ is not None and as_.suffix not in (".yaml", ".yml"):
        raise UserError("expected a file that ends in .yaml", file=as_)
    if as_ is not None and not NAME.fullmatch(as_.stem):
        raise UserError(f"is the study's name, too: {NAME_RULE}", file=as_)
    if as_ is not None and as_.exists():
        raise UserError("is there already: name another file", file=as_)
    if front and len(stored["objectives"]) < 2:
        raise UserError("--front needs several objectives", file="command line")
    final = check_config(FinalRules, stored["finally"] or {})
    with open_sweep(opened, stored) as (_, searches):
        chosen = winners(searches, "front" if front else final.retrain)
        if as_json:
            print_json(
                [
                    {"label": each.label, "trial": each.number, "cell": each.cell, "params": dict(each.params)}
                    for each in chosen
                ]
            )
        else:
            print_best(searches, chosen)
    if as_ is not None:
        study = winners_study(stored, chosen, name=as_.stem, final=final)
        write_text(as_, to_yaml(study, stored, chosen))
        for note in describe_groups(group_winners(stored, chosen)):
            typer.echo(f"note: {note}", err=True)
        typer.echo(f"written to {as_}", err=as_json)
        if stored["recipe"]["plugins"]:
            folder = stored["recipe"]["plugin_folder"]
            typer.echo(f"note: plug-ins are looked up beside their study; those of the sweep lie in {folder}", err=True)
        plan, run = (shell_command(word, as_, store=opened) for word in ("plan", "run"))
        typer.echo(f"next: {plan} · {run}", err=as_json)
    elif not as_json:
        write = shell_command("sweep", "best", file, "--as", f"{stored['study']}-best.yaml", store=opened)
        typer.echo(f"next: {write}")


def print_best(searches: Sequence[StoredSearch], chosen: Sequence[Winner]) -> None:
    """Print the best settings of each variant, a line per setting."""
    from rich.console import Console

    from mtlab.report.formats import numbers
    from mtlab.report.sweep_report import describe_trial
    from mtlab.studies.axes import plain_label

    console = Console(highlight=False)
    by_label = {found.label: found for found in searches}
    for winner in chosen:
        found = by_label[winner.variant["label"]]
        best = describe_trial(found, found.trials[winner.number])
        values = ", ".join(
            f"{each.metric} {numbers.format_score(value, each.metric)}"
            for each, value in zip(found.objectives, best.values, strict=True)
        )
        console.print(
            f"{winner.label}: trial {winner.number}, {values}, cell {winner.cell}", markup=False, style="bold"
        )
        for path, value in winner.params.items():
            console.print(f"  {path}: {plain_label(value)}", markup=False)
