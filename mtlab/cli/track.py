"""`mtlab track`: send a study to trackers, from the store, and save a workspace that shows it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.options import PluginsOption, StoredStudy, StoreOption
from mtlab.cli.output import progress_bar
from mtlab.cli.stored import stored_study_name
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.report.sync.process import SyncProcess
    from mtlab.tracking.settings import TrackerOptions

WANDB = "wandb"
COMMAND_LINE = "command line"
ProjectOption = Annotated[
    str | None, typer.Option("--project", help="W&B project.", show_default="the study's, else mtlab")
]
EntityOption = Annotated[
    str | None, typer.Option("--entity", help="W&B user or team.", show_default="the study's, else your default")
]

app = typer.Typer(
    name="track",
    help="Send studies to trackers, from the store (docs/trackers.md, docs/wandb.md).",
    no_args_is_help=True,
)


@app.command()
def sync(
    file: StoredStudy,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="Tracker; can be repeated.", show_default="the study's, else wandb"),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TRACKER.KEY=VALUE", help="Option of a tracker, as below `tracking:`."),
    ] = None,
    project: ProjectOption = None,
    entity: EntityOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Write W&B's offline files into the store, and send nothing to W&B.")
    ] = False,
    store: StoreOption = None,
    no_plugins: PluginsOption = False,
) -> None:
    """Send the finished runs of a study and their comparison to trackers, except what is there already.

    Works from the store alone: for studies that ran offline, were cut off, or never had a tracker.

    mtlab track sync quickstart · mtlab track sync quickstart --to tensorboard --to mlflow
    """
    from mtlab.report.formats.run_again import go_on
    from mtlab.report.sync.process import SyncProcess
    from mtlab.runs.store import Store, store_root
    from mtlab.tracking.settings import stored_tracking

    opened = Store.open(store_root(store))
    if opened.archive is not None:
        raise UserError("is an archive: trackers are sent what is in a store", file=opened.archive)
    name = stored_study_name(file, opened)
    plan = opened.plan(name)
    chosen = _choose(stored_tracking(plan, plugins=not no_plugins), to or [])
    chosen = _with_settings(chosen, setting or [])
    chosen = _with_wandb(chosen, project, entity, offline=offline)
    _refuse_missing(chosen)
    if not any(opened.state(run["id"]) == "done" for run in plan["runs"]):
        raise UserError(f"no run of {name!r} is finished yet: `{go_on(plan, opened)}`", file=COMMAND_LINE)
    with (
        progress_bar(f"{name}: to {', '.join(chosen)}") as update,
        SyncProcess(opened, name, chosen, typer.echo, lambda sent: update(sent.done, sent.of)) as process,
    ):
        process.finish(quiet=True)
    _conclude(process, chosen, offline=offline)


@app.command()
def workspace(
    file: StoredStudy,
    project: ProjectOption = None,
    entity: EntityOption = None,
    store: StoreOption = None,
    no_plugins: PluginsOption = False,
) -> None:
    """Save a workspace in Weights & Biases that compares the variants of a study layer by layer.

    Its panels are those of the finished runs, which `mtlab track sync` sends. Repeated, it renews the same workspace,
    and what was changed in its panels by hand is lost. Needs the extra wandb-workspaces.

    mtlab track workspace quickstart
    """
    from mtlab.report.sync.workspace import save_workspace
    from mtlab.runs.store import Store, store_root
    from mtlab.tracking.settings import stored_tracking

    opened = Store.open(store_root(store))
    if opened.archive is not None:
        raise UserError("is an archive: trackers are sent what is in a store", file=opened.archive)
    plan = opened.plan(stored_study_name(file, opened))
    chosen = _with_wandb(
        _choose(stored_tracking(plan, plugins=not no_plugins), [WANDB]), project, entity, offline=False
    )
    typer.echo(f"saved: {save_workspace(opened, plan, chosen[WANDB])}")


def _choose(known: TrackerOptions, names: Sequence[str]) -> TrackerOptions:
    """Return the trackers to send to: those that are named, else those of the study, else W&B."""
    from mtlab.tracking.base import TRACKERS

    try:
        entries = [TRACKERS.get(name) for name in names or known or [WANDB]]
    except UserError as error:
        raise UserError(error.problem, file=COMMAND_LINE, key="--to") from None
    return {entry.name: known.get(entry.name, entry.config()) for entry in entries}


def _with_settings(chosen: TrackerOptions, settings: Sequence[str]) -> TrackerOptions:
    from mtlab.config.credentials import find_credentials
    from mtlab.config.load import merge, nest, parse_override
    from mtlab.tracking.settings import check_tracking, plain_tracking

    if not settings:
        return chosen
    plain: dict[str, Any] = plain_tracking(chosen)
    for text in settings:
        tracker = text.partition(".")[0]
        if tracker not in chosen:
            problem = f"{tracker!r} is none of the trackers to send to ({', '.join(chosen)}): add --to {tracker}"
            raise UserError(problem, file=COMMAND_LINE, key="--set")
        if "=" not in text:
            raise UserError(f"{text!r}: expected TRACKER.KEY=VALUE", file=COMMAND_LINE, key="--set")
        plain = merge(plain, nest(*parse_override(f"study.{text}")))
    for key, what in find_credentials(plain):
        problem = f"holds {what}, which would be stored and printed: give it to the tracker's own environment"
        raise UserError(problem, file=COMMAND_LINE, key=f"--set {key}")
    try:
        return check_tracking(plain)
    except UserError as error:
        key = (error.key or "").removeprefix("tracking.")
        raise UserError(error.problem, file=COMMAND_LINE, key=f"--set {key}") from None


def _with_wandb(chosen: TrackerOptions, project: str | None, entity: str | None, *, offline: bool) -> TrackerOptions:
    """Apply the options that are of W&B alone: it is sent to unless its files are to be written offline."""
    if WANDB not in chosen:
        if project or entity or offline:
            raise UserError("are of W&B: add --to wandb", file=COMMAND_LINE, key="--project, --entity and --offline")
        return chosen
    given = chosen[WANDB]
    try:
        wanted = replace(
            given,
            mode="offline" if offline else "online",
            project=project or given.project,
            entity=entity or given.entity,
        )
    except UserError as error:
        raise UserError(error.problem, file=COMMAND_LINE, key="--project") from None
    return {**chosen, WANDB: wanted}


def _refuse_missing(chosen: TrackerOptions) -> None:
    from mtlab.report.sync.process import missing_package
    from mtlab.tracking.base import TRACKERS

    for name in chosen:
        if (missing := missing_package(TRACKERS.get(name).cls)) is not None:
            raise UserError(missing, file=COMMAND_LINE, key=f"--to {name}")


def _conclude(process: SyncProcess, chosen: TrackerOptions, *, offline: bool) -> None:
    """Say what was sent; exit with 1 if a tracker has not received everything."""
    from mtlab.report.sync.process import describe_sync
    from mtlab.tracking.trackers.weights_and_biases import OFFLINE_MODES

    sent = process.sent
    for line in describe_sync(process, tried=not offline):
        typer.echo(line)
    complete = len(sent.sinks) == len(chosen) and all(each["done"] == sent.of for each in sent.sinks.values())
    mode = os.environ.get("WANDB_MODE")
    if sent.offline and not offline and mode in OFFLINE_MODES:
        typer.echo(f"WANDB_MODE={mode} keeps W&B's runs here: unset it to send them", err=True)
    if not complete or (sent.offline and not offline):
        raise typer.Exit(1)
