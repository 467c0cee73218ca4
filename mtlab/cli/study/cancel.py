"""`mtlab cancel`: stop the launchers of a study, or the jobs that they have left in a cluster's queue."""

from __future__ import annotations

from typing import Annotated

import typer

from mtlab.cli.options import StoredStudy, StoreOption
from mtlab.cli.stored import stored_study_name
from mtlab.errors import UserError


def cancel(
    file: StoredStudy,
    store: StoreOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Cancel jobs even if a launcher on another host may submit them again.")
    ] = False,
) -> None:
    """Stop a study that runs on this machine or from here: its workers write their state, as after Ctrl-C.

    Where no launcher of it runs, jobs that one has left in Slurm's queue are cancelled. `mtlab run` goes on from there.
    """
    from mtlab.launch.slurm.queue import SlurmError
    from mtlab.runs.store import Store, store_root
    from mtlab.workflow.detached import cancel_jobs, find_launchers, stop_launchers

    opened = Store.open(store_root(store))
    name = stored_study_name(file, opened)
    found = find_launchers(opened, name)
    if found.here:
        typer.echo(f"stopping {', '.join(map(str, found.here))}: workers write their state", err=True)
        stop_launchers(found.here)
        typer.echo(f"{name} is stopped; `mtlab run {file}` goes on from here")
        return
    if found.elsewhere and not force:  # it would submit again what is cancelled here
        where = ", ".join(map(str, found.elsewhere))
        raise UserError(f"{name} may be run by {where}: cancel it there; or, if that has ended, --force")
    try:
        jobs = cancel_jobs(opened, [run["id"] for run in opened.plan(name)["runs"]])
    except SlurmError as error:
        raise UserError(f"Slurm does not answer: {error}") from None
    if jobs:
        typer.echo(f"{jobs} job{'s' if jobs > 1 else ''} of {name} cancelled: workers write their state")
    else:
        typer.echo(f"nothing of {name} runs that can be cancelled from here")
