"""`mtlab track sync`: send a study to its trackers, from the store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import StoredStudy, StoreOption
from mtlab.cli.output import progress_bar
from mtlab.cli.stored import stored_study_name
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.report.sync.process import SyncProcess
    from mtlab.runs.store import Store
    from mtlab.tracking.settings import TrackingSettings

app = typer.Typer(
    name="track", help="Send studies to Weights & Biases, from the store (docs/wandb.md).", no_args_is_help=True
)


@app.command()
def sync(
    file: StoredStudy,
    project: Annotated[
        str | None, typer.Option("--project", help="W&B project.", show_default="the study's, else mtlab")
    ] = None,
    entity: Annotated[
        str | None, typer.Option("--entity", help="W&B user or team.", show_default="the study's, else your default")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Write W&B's offline files into the store, and send nothing.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Send the finished runs of a study and their comparison to W&B, except what is there already.

    Works from the store alone: for studies that ran offline, were cut off, or never had a tracker.

    mtlab track sync quickstart · mtlab track sync quickstart --offline
    """
    from mtlab.report.sync.process import SyncProcess, tracking_settings
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    name = stored_study_name(file, opened)
    plan = opened.plan(name)
    keys = _keys(tracking_settings(plan), project, entity, offline=offline)
    if not any(opened.state(run["id"]) == "done" for run in plan["runs"]):
        raise UserError(f"no run of {name!r} is finished yet: `mtlab run {file}`", file="command line")
    with (
        progress_bar(f"{name}: to W&B") as update,
        SyncProcess(opened, name, keys, typer.echo, lambda sent: update(sent.done, sent.of)) as sync,
    ):
        sync.finish(quiet=True)
    _conclude(sync, opened, name, offline=offline)


def _keys(known: TrackingSettings, project: str | None, entity: str | None, *, offline: bool) -> TrackingSettings:
    from mtlab.tracking.settings import WandbSettings

    given = known.wandb or WandbSettings()
    try:
        wanted = replace(
            given,
            mode="offline" if offline else "online",
            project=project or given.project,
            entity=entity or given.entity,
        )
    except UserError as error:
        raise UserError(error.problem, file="command line", key="--project") from None
    return replace(known, wandb=wanted)


def _conclude(sync: SyncProcess, store: Store, study: str, *, offline: bool) -> None:
    from mtlab.report.sync.process import describe_sync

    sent = sync.sent
    typer.echo(describe_sync(sync, store, study, tried=not offline))
    if (sent.offline and not offline) or not sent.done:
        raise typer.Exit(1)
