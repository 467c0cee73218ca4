"""`mtlab sweep run`: search, then retrain and compare the best of each variant."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.background import detach as go_on_in_background
from mtlab.cli.background import repeated_words
from mtlab.cli.options import (
    DetachOption,
    LauncherOption,
    Overrides,
    PluginsOption,
    QuietOption,
    ReplaceOption,
    RetriesOption,
    StoreOption,
    SweepFile,
    WorkersOption,
    make_policy,
)
from mtlab.cli.output import unless_quiet
from mtlab.cli.terminal import outlive_readers
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.runs.store import Store
    from mtlab.sweeps.run import SweepOutcome
    from mtlab.sweeps.variants import PreparedSweep


def run(
    context: typer.Context,
    file: SweepFile,
    overrides: Overrides = None,
    workers: WorkersOption = None,
    launcher: LauncherOption = None,
    search_only: Annotated[
        bool, typer.Option("--search-only", help="Leave out `finally`: retrain and compare nothing.")
    ] = False,
    retries: RetriesOption = 2,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Let no failure stop other trials.")] = False,
    store: StoreOption = None,
    no_plugins: PluginsOption = False,
    replace: ReplaceOption = False,
    quiet: QuietOption = False,
    detach: DetachOption = False,
) -> None:
    """Search, or go on searching; then retrain the best of each variant and compare. The default: `mtlab sweep FILE`.

    Ctrl-C stops it cleanly, and the same command goes on from there. A larger `budget` goes on too, and a variant added
    to `over` has its own search. Several launchers may work on one sweep at once, on one machine or, with `storage:
    postgresql://…`, on many.
    """
    from mtlab.config.load import find_study_file, sweep_recipe_folders
    from mtlab.launch.backends import attempt_limit, make_pool
    from mtlab.launch.prepare import choose_launcher
    from mtlab.report.formats.run_again import readable_as
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.run import check_runnable, claim_storage, configs_of, open_searches, prepare_file, run_searches
    from mtlab.sweeps.spec import read_sweep
    from mtlab.sweeps.view import make_sweep_view

    policy = make_policy(retries, fail_fast=fail_fast, keep_going=keep_going)
    opened = Store.open(store_root(store), create=True)
    path = find_study_file(file, sweep_recipe_folders())
    if detach:
        name = read_sweep(path, overrides or ()).name
        words = ["sweep", "run", *repeated_words(context, opened)]
        raise typer.Exit(go_on_in_background(words, opened, name, ("sweep", "status", name), quiet=quiet))
    outlive_readers()
    context.with_resource(unless_quiet(quiet))
    prepared = prepare_file(path, overrides or [], plugins=not no_plugins)
    prepared = check_runnable(prepared, launcher, typer.echo)
    sweep, resources = prepared.sweep, prepared.sweep.keys.resources
    settings = choose_launcher(sweep.study, launcher)
    try:
        pool = make_pool(settings, resources, configs_of(prepared), at_once=workers)
    except UserError as error:
        raise sweep.error(error.problem, error.key) from None
    with claim_storage(prepared, opened, replace=replace) as storage:
        searches = open_searches(prepared, storage)
        typer.echo(_describe_start(prepared, [search.status().ended for search in searches]))
        view, on_event = make_sweep_view(searches, sweep.objectives[0].metric)
        outcome = run_searches(
            prepared,
            searches,
            storage,
            opened,
            pool=pool,
            policy=dataclasses.replace(policy, limit=attempt_limit(settings, resources)),
            view=view,
            on_event=on_event,
        )
    code = outcome.exit_code
    if not outcome.launch.interrupted:
        _sync(opened, sweep.name)
        if outcome.complete and sweep.final is not None and not search_only:
            code = max(
                code, _retrain(prepared, opened, workers, policy, launcher, plugins=not no_plugins, replace=replace)
            )
    file = readable_as(file, sweep.name, overrides or ())
    raise typer.Exit(_conclude(outcome, opened, sweep.name, file, code))


def _describe_start(prepared: PreparedSweep, ended: list[int]) -> str:
    """Describe the search in one line."""
    sweep = prepared.sweep
    each = sweep.keys.budget.trials
    seeds = f", {sweep.seeds.n} seeds each" if sweep.seeds.n > 1 else ""
    before = f" ({sum(ended)} are done)" if any(ended) else ""
    return f"{sweep.name}: {len(prepared.variants)} variants × {each} trials{seeds}{before}"


def _sync(store: Store, name: str) -> None:
    """Send the finished trials to the sweep's trackers, if it has any."""
    from mtlab.report.sync.process import describe_sync, sync_while_running

    with sync_while_running(store, store.plan(name), typer.echo) as sync:
        pass
    if sync is not None:
        for line in describe_sync(sync):
            typer.echo(line)


def _retrain(
    prepared: PreparedSweep,
    store: Store,
    workers: int | None,
    policy: LaunchPolicy,
    launcher: str | None,
    *,
    plugins: bool,
    replace: bool,
) -> int:
    """Retrain the best of each variant on fresh seeds, as an ordinary study; return the exit code."""
    from mtlab.cli.study.run import StudyCommand, run_study
    from mtlab.sweeps.winners import write_final_study

    final = prepared.sweep.final
    assert final is not None
    try:
        path, notes = write_final_study(prepared.sweep.name, final, store)
    except UserError as error:
        typer.echo(f"nothing is retrained: {error}", err=True)
        return 1
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"retraining the best of each variant on {final.seeds_words}: {path}")
    study = StudyCommand(
        file=str(path),
        path=path,
        plugins=plugins,
        plugin_folder=prepared.sweep.study.plugin_folder,
        replace=replace,
        launcher=launcher,
    )
    return run_study(study, store, workers, policy, report=False)


def _conclude(outcome: SweepOutcome, store: Store, name: str, file: str, code: int) -> int:
    """Print problems, the table, paths, and what to do next; return the exit code."""
    from mtlab.cli.sweep.report import print_report
    from mtlab.runs.shell_command import shell_command

    if outcome.launch.message:
        typer.echo(outcome.launch.message, err=True)
    if outcome.launch.interrupted or code == 130:
        typer.echo("interrupted; the same command goes on from here", err=True)
        return 130
    print_report(store, store.plan(name))
    if not outcome.complete:
        typer.echo("not finished; the same command goes on from here", err=True)
    elif outcome.external_failures:
        typer.echo(f"{outcome.external_failures} trials failed; the same command tries them again", err=True)
    write = shell_command("sweep", "best", file, "--as", f"{name}-best.yaml", store=store)
    typer.echo(f"next: {write} · {shell_command('sweep', 'dashboard', file, store=store)}")
    return code
