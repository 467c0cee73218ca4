"""`mtlab cancel`: stop the launchers of a study or sweep, or the jobs that they have left in a cluster's queue."""

from __future__ import annotations

from typing import Annotated

import typer

from mtlab.cli.options import StoreOption
from mtlab.cli.stored import stored_launch_name
from mtlab.errors import UserError
from mtlab.units import format_span


def cancel(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Study or sweep file, recipe, or name of either in the store.")
    ],
    store: StoreOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Cancel jobs even if a launcher on another host may submit them again.")
    ] = False,
) -> None:
    """Stop a study or sweep that runs on this machine or from here: its workers write their state, as after Ctrl-C.

    Where no launcher of it runs, jobs that one has left in Slurm's queue are cancelled. The command that began it goes
    on from there.
    """
    from mtlab.launch.slurm.queue import SlurmError
    from mtlab.runs.store import Store, store_root
    from mtlab.workflow.detached import cancel_jobs, find_launchers, stop_launchers

    opened = Store.open(store_root(store))
    name = stored_launch_name(file, opened)
    found = find_launchers(opened, name)
    if found.here:
        typer.echo(f"stopping {', '.join(map(str, found.here))}: workers write their state", err=True)
        stop_launchers(found.here)
        typer.echo(f"{name} is stopped; the command that began it goes on from here")
        return
    if found.elsewhere and not force:  # it would submit again what is cancelled here
        where = ", ".join(map(str, found.elsewhere))
        raise UserError(f"{name} may be run by {where}: cancel it there; or, if that has ended, --force")
    try:
        jobs = cancel_jobs(opened, name, force=force)
    except SlurmError as error:
        raise UserError(f"Slurm does not answer: {error}") from None
    if jobs:
        typer.echo(f"{format_span([jobs], 'job')} of {name} cancelled: workers write their state")
    else:
        typer.echo(f"nothing of {name} runs that can be cancelled from here")
