"""`mtlab run`: execute the unfinished runs of a study, then show the table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.options import (
    File,
    LauncherOption,
    Overrides,
    PluginsOption,
    QuietOption,
    ReplaceOption,
    RetriesOption,
    StoreOption,
    WorkersOption,
    make_policy,
)
from mtlab.cli.output import unless_quiet
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.launch.launcher import LaunchOutcome
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.runs.store import Store
    from mtlab.studies.plan import Plan


def run(
    file: File,
    overrides: Overrides = None,
    workers: WorkersOption = None,
    launcher: LauncherOption = None,
    retries: RetriesOption = 2,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop the study at the first failure.")] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Let no failure stop other runs.")] = False,
    store: StoreOption = None,
    no_plugins: PluginsOption = False,
    replace: ReplaceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a study: everything that its plan asks for and the store lacks. Finished runs are never redone.

    Ctrl-C stops it cleanly; the same command goes on from there.
    """
    from mtlab.config.load import find_study_file
    from mtlab.runs.store import Store, store_root

    policy = make_policy(retries, fail_fast=fail_fast, keep_going=keep_going)
    path = find_study_file(file)
    opened = Store.open(store_root(store), create=True)
    study = StudyCommand(file, path, tuple(overrides or ()), plugins=not no_plugins, replace=replace, launcher=launcher)
    with unless_quiet(quiet):
        code = run_study(study, opened, workers, policy)
    raise typer.Exit(code)


@dataclass(frozen=True)
class StudyCommand:
    """A study to run, as the command line names it."""

    file: str  #: as in hints for the next command
    path: Path
    overrides: tuple[str, ...] = ()
    plugins: bool = True  #: may they be imported?
    plugin_folder: Path | None = None  #: where they lie, if not beside the file
    replace: bool = False
    resume_command: str | None = None  #: the command that continues it, if not `mtlab run FILE`
    launcher: str | None = None  #: instead of the file's


def run_study(
    study: StudyCommand, store: Store, workers: int | None, policy: LaunchPolicy, *, report: bool = True
) -> int:
    """Plan a study, execute its unfinished runs, and print the result, with or without its table.

    Returns:
        The exit code.

    Raises:
        UserError: it is wrong, or cannot be run here.

    """
    from mtlab.cli.study.report import print_report
    from mtlab.cli.track import describe_sync, sync_while_running
    from mtlab.files import read_text
    from mtlab.launch.backends import attempt_limit, make_pool
    from mtlab.launch.launcher import launch
    from mtlab.launch.live import make_view
    from mtlab.launch.look_source import LookSource, describe_looks
    from mtlab.launch.prepare import (
        choose_launcher,
        fetch_weights,
        plan_study,
        refuse_unavailable,
        refuse_unreadable_data,
    )
    from mtlab.report.sequential.looks import take_look
    from mtlab.runs.damage import damaged_runs
    from mtlab.studies.plan import run_configs, to_json, with_asked_seeds
    from mtlab.studies.plan_status import asked_plan, plan_status, refuse_full_disk

    def make_plan() -> Plan:
        return plan_study(study.path, study.overrides, store, plugins=study.plugins, plugin_folder=study.plugin_folder)

    plan = make_plan()
    refuse_unreadable_data(plan)
    if plan.unresolved:
        fetch_weights(plan, typer.echo)
        plan = make_plan()
    settings = choose_launcher(plan.study, study.launcher)
    refuse_unavailable(plan, settings)
    configs, resources = run_configs(plan), plan.study.keys.resources
    asked, looks = asked_plan(plan, store)
    data = to_json(asked)
    try:
        pool = make_pool(settings, resources, configs, at_once=workers)
    except UserError as error:
        raise plan.study.error(error.problem, error.key) from None
    status = plan_status(data, store)
    refuse_full_disk(data, status.states, store)
    store.claim_study(plan.study.name, study.path, read_text(study.path), replace=study.replace)
    store.write_plan(plan.study.name, data)
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items())
    typer.echo(f"{plan.study.name}: {len(data['runs'])} runs ({counts})")
    for remark in data["remarks"]:
        typer.echo(f"data: {remark}")
    for line in damaged_runs(data, store.damage):
        typer.echo(f"damaged: {line}", err=True)
    source = None
    if looks is not None:
        source = LookSource(
            store,
            looks,
            configs,
            ask=lambda so_far: to_json(with_asked_seeds(plan, so_far.seeds_of())),
            take_look=partial(take_look, store),
        )
        typer.echo(
            describe_looks(looks) or f"seeds until decided: first look at {looks.numbers[0]} of {looks.numbers[-1]}"
        )
    with sync_while_running(store, data) as sync:
        outcome = launch(
            store,
            data,
            configs,
            pool=pool,
            policy=dataclasses.replace(policy, limit=attempt_limit(settings, resources)),
            view=make_view(),
            source=source,
        )
    data = data if source is None else dict(source.plan)
    _print_problems(outcome, store, data, study)
    if report and not outcome.interrupted:
        print_report(store, data, study.file)
    if sync is not None:
        typer.echo(describe_sync(sync, store, plan.study.name))
    return outcome.exit_code


def _print_problems(outcome: LaunchOutcome, store: Store, plan: dict[str, Any], study: StudyCommand) -> None:
    """Print what failed, and what to do about it."""
    labels = {run["id"]: f"{run['label']}, seed {run['seed']}" for run in plan["runs"]}
    for run, failure in outcome.failed.items():
        typer.echo(f"failed: {labels[run]}: {failure.error}", err=True)
        typer.echo(f"        {failure.advice} (log: {store.run(run) / 'log.txt'})", err=True)
    if outcome.blocked:
        typer.echo(f"blocked by failed parents: {', '.join(labels[run] for run in outcome.blocked)}", err=True)
    if outcome.message:
        typer.echo(outcome.message, err=True)
    if outcome.interrupted and study.resume_command is None:
        typer.echo(f"interrupted; `mtlab run {study.file}` goes on from here", err=True)
