"""`mtlab run`: run what a plan asks for and the store lacks, then show the table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.common import (
    AT_ONCE_HELP,
    File,
    LauncherOption,
    Overrides,
    PluginsOption,
    ReplaceOption,
    StoreOption,
    planned,
)
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.launch.backends import Settings
    from mtlab.launch.launcher import LaunchOutcome
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.runs.store import Store
    from mtlab.studies.plan import Plan
    from mtlab.studies.spec import Study


def run(
    file: File,
    overrides: Overrides = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Runs at once.", show_default=AT_ONCE_HELP),
    ] = None,
    launcher: LauncherOption = None,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts at a run whose worker was killed.")] = 2,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop the study at the first failure.")] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Let no failure stop other runs.")] = False,
    store: StoreOption = None,
    no_plugins: PluginsOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Run a study: everything that its plan asks for and the store lacks. Finished runs are never redone.

    Ctrl-C stops it cleanly; the same command goes on from there.
    """
    from mtlab.config.load import find_study_file
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.runs.store import Store, store_root

    if fail_fast and keep_going:
        raise UserError("--fail-fast and --keep-going contradict each other: give one", file="command line")
    path = find_study_file(file)
    opened = Store.open(store_root(store), create=True)
    policy = LaunchPolicy(retries=retries, fail_fast=fail_fast, keep_going=keep_going)
    study = Launched(file, path, tuple(overrides or ()), plugins=not no_plugins, replace=replace, launcher=launcher)
    raise typer.Exit(run_study(study, opened, workers, policy))


@dataclass(frozen=True)
class Launched:
    """A study that is to be run, as the user named it."""

    file: str  #: as it stands in hints for the next command
    path: Path
    overrides: tuple[str, ...] = ()
    plugins: bool = True  #: may they be imported?
    plugin_folder: Path | None = None  #: where they lie, if not beside the file
    replace: bool = False
    again: str | None = None  #: the command that goes on with it, if not `mtlab run FILE`
    launcher: str | None = None  #: where its runs are started, if not where the file says


def run_study(study: Launched, store: Store, workers: int | None, policy: LaunchPolicy, *, report: bool = True) -> int:
    """Plan a study, run what is missing, and print what came of it, with or without its table; return the exit code.

    Raises:
        UserError: it is wrong, or cannot be run here.

    """
    from mtlab.cli.track import told, tracked
    from mtlab.launch.backends import attempt_limit, make_pool
    from mtlab.launch.launcher import launch
    from mtlab.launch.live import make_view
    from mtlab.studies.plan import run_configs, to_json
    from mtlab.studies.plan_status import plan_status, refuse_full_disk

    def make() -> Plan:
        return planned(study.path, study.overrides, store, plugins=study.plugins, plugin_folder=study.plugin_folder)

    plan = make()
    refuse_unread(plan)
    if plan.unresolved:
        fetch_weights(plan)
        plan = make()
    settings = chosen_launcher(plan.study, study.launcher)
    refuse_unready(plan, settings)
    data, configs, resources = to_json(plan), run_configs(plan), plan.study.keys.resources
    try:
        pool = make_pool(settings, resources, configs, at_once=workers)
    except UserError as error:
        raise plan.study.error(error.problem, error.key) from None
    found = plan_status(data, store)
    refuse_full_disk(data, found.states, store)
    store.claim_study(plan.study.name, study.path, study.path.read_text(), replace=study.replace)
    store.write_plan(plan.study.name, data)
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    typer.echo(f"{plan.study.name}: {len(data['runs'])} runs ({counts})")
    for remark in data["remarks"]:
        typer.echo(f"data: {remark}")
    with tracked(store, data) as following:
        outcome = launch(
            store,
            data,
            configs,
            pool=pool,
            policy=dataclasses.replace(policy, limit=attempt_limit(settings, resources)),
            view=make_view(),
        )
    _tell_problems(outcome, store, data, study)
    if report and not outcome.interrupted:
        _report(store, data, study.file)
    if following is not None:
        typer.echo(told(following, store, plan.study.name))
    return outcome.exit_code


def refuse_unread(plan: Plan) -> None:
    """Refuse data sets that can be planned but not read here, before anything is downloaded.

    Raises:
        UserError: there is one.

    """
    unread = {run.cell.config["data"]["name"] for run in plan.runs if "data" in run.cell.identity.unresolved}
    if unread:
        names = ", ".join(sorted(unread))
        raise plan.study.error(
            f"{names}: only sizes and answers are known without the files; `mtlab data convert` makes shards of them, "
            "and `data.folder` says where these lie (`mtlab list datasets NAME`)",
            "set.data",
        )


def fetch_weights(plan: Plan) -> None:
    """Download the weights that the plan needs and this disk lacks: only then can runs be identified.

    Raises:
        UserError: the hub has no such model, or cannot be reached.

    """
    from mtlab.resolution.identity import clear_digests
    from mtlab.towers.build import fetch_tower

    for cell in {run.cell.id: run.cell for run in plan.runs}.values():  # parents of other studies too
        for kind in ("text", "vision"):
            if kind in cell.identity.unresolved:
                typer.echo(f"downloading the weights of {cell.config[kind].get('model', cell.config[kind]['name'])}")
                try:
                    fetch_tower(kind, cell.config[kind])
                except UserError as error:
                    raise plan.study.error(error.problem, f"set.{error.key or kind}") from None
    clear_digests()


def chosen_launcher(study: Study, name: str | None) -> Settings:
    """Return which launcher a study's runs are started by.

    Args:
        study: the study.
        name: the launcher that the command line names, if it does.

    Raises:
        UserError: there is no such launcher, or no such option of it.

    """
    from mtlab.launch.backends import launcher_settings

    if name is not None:
        launcher_settings(name)  # told without the file's place
    try:
        return launcher_settings(study.keys.launcher, name=name)
    except UserError as error:
        raise study.error(error.problem, error.key) from None


def refuse_unready(plan: Plan, settings: Settings) -> None:
    """Refuse what cannot be run, before anything is started.

    Raises:
        UserError: weights cannot be had, or the device is not there; what devices a cluster's nodes have is theirs.

    """
    from mtlab.launch.backends import LocalSettings

    if plan.unresolved:
        missing = ", ".join(plan.unresolved)
        raise plan.study.error(f"weights that cannot be had: {missing}; give a local folder or file", "set")
    for device in {run.cell.config["train"]["device"] for run in plan.runs if isinstance(settings, LocalSettings)}:
        try:
            _refuse_missing(device, plan.study.keys.resources.processes)
        except UserError as error:
            raise plan.study.error(error.problem, "set.train.device") from None


def _refuse_missing(device: str, processes: int) -> None:
    from mtlab.training.environment import choose_device as find

    find(device, processes=processes)


def _tell_problems(outcome: LaunchOutcome, store: Store, plan: dict[str, Any], study: Launched) -> None:
    """Print what did not go well, and what to do about it."""
    labels = {run["id"]: f"{run['label']}, seed {run['seed']}" for run in plan["runs"]}
    for run, failure in outcome.failed.items():
        typer.echo(f"failed: {labels[run]}: {failure.error}", err=True)
        typer.echo(f"        {failure.advice} (log: {store.run(run) / 'log.txt'})", err=True)
    if outcome.blocked:
        typer.echo(f"blocked by failed parents: {', '.join(labels[run] for run in outcome.blocked)}", err=True)
    if outcome.message:
        typer.echo(outcome.message, err=True)
    if outcome.interrupted and study.again is None:
        typer.echo(f"interrupted; `mtlab run {study.file}` goes on from here", err=True)


def _report(store: Store, plan: dict[str, Any], file: str) -> None:
    """Print the table of what is there, paths, and what to do next."""
    from mtlab.cli.study.report import print_report

    print_report(store, plan)
    typer.echo(f"next: mtlab report {file} --format md · mtlab status {plan['study']}")
