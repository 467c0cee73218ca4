"""`mtlab track sync`: send a study to its trackers, from the store."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.common import StoreOption
from mtlab.errors import UserError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mtlab.report.sync.process import SyncProcess, SyncProgress
    from mtlab.runs.store import Store
    from mtlab.tracking.settings import TrackingSettings

app = typer.Typer(
    name="track", help="Send studies to Weights & Biases, from the store (docs/wandb.md).", no_args_is_help=True
)


@app.command()
def sync(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Study file, recipe, or name of a study in the store.")],
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
    """Send the finished runs of a study and their comparison to W&B: what is there already stays, what is not is sent.

    Works from the store alone: for studies that ran offline, were cut off, or never had a tracker.

    mtlab track sync quickstart · mtlab track sync quickstart --offline
    """
    from mtlab.cli.study.status import study_name
    from mtlab.report.sync.process import SyncProcess, tracking_settings
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    name = study_name(file, opened)
    plan = opened.plan(name)
    keys = _keys(tracking_settings(plan), project, entity, offline=offline)
    if not any(opened.state(run["id"]) == "done" for run in plan["runs"]):
        raise UserError(f"no run of {name!r} is finished yet: `mtlab run {file}`", file="command line")
    with _bar(name) as shown, SyncProcess(opened, name, keys, typer.echo, shown) as following:
        following.finish(quiet=True)
    _conclude(following, opened, name, offline=offline)


def tracked(store: Store, plan: Mapping[str, Any]) -> AbstractContextManager[SyncProcess | None]:
    """Follow a study while it runs, if its file says so; what trackers say is printed as it comes."""
    from mtlab.report.sync.process import NICE, SyncProcess, tracking_settings

    keys = tracking_settings(plan)
    if keys.wandb is None:
        return nullcontext()
    return SyncProcess(store, plan["study"], keys, typer.echo, nice=NICE)


def told(following: SyncProcess, store: Store, study: str) -> str:
    """Say in a line what became of a study's runs."""
    from mtlab.tracking.weights_and_biases import FOLDER

    sent = following.sent
    counted = f"W&B: {sent.done} of {sent.of} ({sent.new} new), the comparison counted as one"
    if sent.offline:
        return f"{counted}, in {store.study(study) / FOLDER}; `mtlab track sync {study}` sends them"
    return f"{counted}{f', at {sent.places[0]}' if sent.places else ''}"


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


def _conclude(following: SyncProcess, store: Store, study: str, *, offline: bool) -> None:
    sent = following.sent
    typer.echo(told(following, store, study))
    if (sent.offline and not offline) or not sent.done:
        raise typer.Exit(1)


@contextmanager
def _bar(study: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        row = bar.add_task(f"{study}: to W&B", total=None)

        def shown(sent: SyncProgress) -> None:
            bar.update(row, completed=sent.done, total=sent.of)

        yield shown
