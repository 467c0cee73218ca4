"""`mtlab sweep`: the same search for every variant, then the tuned variants against each other on test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mtlab.cli.common import (
    AT_ONCE_HELP,
    JsonOption,
    LauncherOption,
    Overrides,
    PluginsOption,
    ReplaceOption,
    StoreOption,
    print_json,
)
from mtlab.cli.sweep import results
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.runs.store import Store
    from mtlab.studies.cost_cache import CostCache
    from mtlab.sweeps.run import SweepOutcome
    from mtlab.sweeps.storage.base import SweepStorage
    from mtlab.sweeps.variants import PreparedSweep

File = Annotated[str, typer.Argument(metavar="FILE", help="Sweep file, or the name of a shipped recipe such as quick.")]


class RunByDefault(TyperGroup):
    """`mtlab sweep FILE` is `mtlab sweep run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in where a file stands in its place."""
        first = next((word for word in args if not word.startswith("-")), None)
        if first is not None and first not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Search for the best settings of every variant, each with the same budget; then judge them on test.

    `mtlab sweep FILE` searches (or goes on), retrains the best of each variant on fresh seeds, and compares.""",
    epilog="First steps: mtlab sweep plan quick · mtlab sweep quick · mtlab sweep status quick",
)


@app.command("run")
def run(
    file: File,
    overrides: Overrides = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Runs at once.", show_default=AT_ONCE_HELP),
    ] = None,
    launcher: LauncherOption = None,
    search_only: Annotated[
        bool, typer.Option("--search-only", help="Leave out `finally`: retrain and judge nothing.")
    ] = False,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts at a run whose worker was killed.")] = 2,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Let no failure stop other trials.")] = False,
    store: StoreOption = None,
    no_plugins: PluginsOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Search, or go on searching; then retrain the best of each variant and compare. The default: `mtlab sweep FILE`.

    Ctrl-C stops it cleanly, and the same command goes on from there. A larger `budget` goes on too, and a variant added
    to `over` has its own search. Several launchers may work on one sweep at once, on one machine or, with `storage:
    postgresql://…`, on many.
    """
    from mtlab.cli.study.run import chosen_launcher
    from mtlab.launch.backends import attempt_limit, make_pool
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.run import configs_of, open_searches, run_searches
    from mtlab.sweeps.view import make_sweep_view

    if fail_fast and keep_going:
        raise UserError("--fail-fast and --keep-going contradict each other: give one", file="command line")
    opened = Store.open(store_root(store), create=True)
    prepared, costs = _prepared(file, overrides, opened, plugins=not no_plugins, ready=True, launcher=launcher)
    sweep, resources = prepared.sweep, prepared.sweep.keys.resources
    settings = chosen_launcher(sweep.study, launcher)
    try:
        pool = make_pool(settings, resources, configs_of(prepared), at_once=workers)
    except UserError as error:
        raise sweep.error(error.problem, error.key) from None
    policy = LaunchPolicy(retries=retries, fail_fast=fail_fast, keep_going=keep_going)
    with _shelf(prepared, opened, replace=replace) as storage:
        searches = open_searches(prepared, storage)
        typer.echo(_beginning(prepared, [search.status().ended for search in searches]))
        view, news = make_sweep_view(searches, sweep.objectives[0].metric)
        ended = run_searches(
            prepared,
            searches,
            storage,
            opened,
            costs,
            pool=pool,
            policy=dataclasses.replace(policy, limit=attempt_limit(settings, resources)),
            view=view,
            on_event=news,
        )
    costs.save()
    code = ended.exit_code
    if not ended.launch.interrupted:
        _track(opened, sweep.name)
        if ended.complete and sweep.final is not None and not search_only:
            code = max(code, _judge(prepared, opened, file, workers, policy, launcher, plugins=not no_plugins))
    raise typer.Exit(_conclude(ended, opened, sweep.name, file, code))


@app.command("plan")
def plan(
    file: File,
    overrides: Overrides = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    no_plugins: PluginsOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Show what would be searched: spaces, budgets, costs, and how far it is. Starts nothing."""
    from mtlab.cli.sweep.plan import print_plan
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.plan import PlanFile, to_json
    from mtlab.sweeps.stored import load_searches

    opened = Store.open(store_root(store), create=True)
    prepared, costs = _prepared(file, overrides, opened, plugins=not no_plugins)
    costs.save()
    with _shelf(prepared, opened, replace=replace) as storage:
        data = PlanFile(opened, to_json(prepared)).plan
        searches = load_searches(storage, data)
        if as_json:
            counts = [dict(each.status.counts) for each in searches]
            print_json(data | {"variants": [v | {"trials": c} for v, c in zip(data["variants"], counts, strict=True)]})
            return
        print_plan(data, searches)
    typer.echo(f"written to {opened.study(prepared.sweep.name) / 'plan.json'}")
    typer.echo(f"next: mtlab sweep {file}" + "".join(f" {text}" for text in overrides or []))


for command in (results.status, results.best, results.report, results.dashboard):
    app.command()(command)


def _prepared(
    file: str,
    overrides: list[str] | None,
    store: Store,
    *,
    plugins: bool,
    ready: bool = False,
    launcher: str | None = None,
) -> tuple[PreparedSweep, CostCache]:
    """Read, expand and price a sweep; with `ready`, refuse what could not be run here, and fetch what can be had."""
    from mtlab.cli.study.run import chosen_launcher, fetch_weights, refuse_unread, refuse_unready
    from mtlab.config.load import find_study_file, sweep_recipe_folders
    from mtlab.config.plugins import import_plugins
    from mtlab.studies.cost_cache import CostCache
    from mtlab.sweeps.spec import read_sweep
    from mtlab.sweeps.variants import prepare

    sweep = read_sweep(find_study_file(file, sweep_recipe_folders()), overrides or [])
    try:
        import_plugins(sweep.keys.plugins, sweep.study.plugin_folder, allowed=plugins)
    except UserError as error:
        raise sweep.error(error.problem, error.key) from error.__cause__
    costs = CostCache(store.root / "costs.json")
    prepared = prepare(sweep, costs)
    if ready:
        refuse_unread(prepared.as_plan)
        if prepared.as_plan.unresolved:
            fetch_weights(prepared.as_plan)
            prepared = prepare(sweep, costs)
        refuse_unready(prepared.as_plan, chosen_launcher(sweep.study, launcher))
    costs.save()
    return prepared, costs


@contextmanager
def _shelf(prepared: PreparedSweep, store: Store, *, replace: bool) -> Iterator[SweepStorage]:
    """Open a sweep's storage, and take its name for its file; what goes wrong is told with the file's place."""
    from mtlab.sweeps.run import check_searches
    from mtlab.sweeps.storage.base import open_storage

    sweep, text = prepared.sweep, prepared.sweep.path.read_text()
    store.check_claim(sweep.name, sweep.path, text, replace=replace)
    try:
        storage = open_storage(sweep.keys.storage, sweep.name, store.study(sweep.name))
    except UserError as error:
        raise (sweep.error(error.problem, error.key) if error.file is None else error) from None
    try:
        check_searches(prepared, storage)
        store.claim_study(sweep.name, sweep.path, text, replace=replace)
        yield storage
    finally:
        storage.close()


def _beginning(prepared: PreparedSweep, ended: list[int]) -> str:
    """Say what is about to happen, in one line."""
    sweep = prepared.sweep
    each = sweep.keys.budget.trials
    seeds = f", {sweep.seeds.n} seeds each" if sweep.seeds.n > 1 else ""
    before = f" ({sum(ended)} are done)" if any(ended) else ""
    return f"{sweep.name}: {len(prepared.variants)} variants × {each} trials{seeds}{before}"


def _track(store: Store, name: str) -> None:
    """Send the trials that have ended to the sweep's trackers, if it has any."""
    from mtlab.cli.track import told, tracked

    with tracked(store, store.plan(name)) as following:
        pass
    if following is not None:
        typer.echo(told(following, store, name))


def _judge(
    prepared: PreparedSweep,
    store: Store,
    file: str,
    workers: int | None,
    policy: LaunchPolicy,
    launcher: str | None,
    *,
    plugins: bool,
) -> int:
    """Retrain the best of each variant on fresh seeds, as the ordinary study that it is; return the exit code."""
    from mtlab.cli.study.run import Launched, run_study
    from mtlab.files import write_text
    from mtlab.sweeps.stored import open_sweep as reading
    from mtlab.sweeps.winners import final_name, to_yaml, winners, winners_study

    sweep, stored = prepared.sweep, store.plan(prepared.sweep.name)
    assert sweep.final is not None
    try:
        with reading(store, stored) as (_, searches):
            chosen = winners(searches, sweep.final.retrain)
    except UserError as error:
        typer.echo(f"nothing is retrained: {error}", err=True)
        return 1
    path = store.study(sweep.name) / "final.yaml"
    write_text(
        path, to_yaml(winners_study(stored, chosen, name=final_name(sweep.name), final=sweep.final), stored, chosen)
    )
    typer.echo(f"retraining the best of each variant on {sweep.final.seeds} fresh seeds: {path}")
    study = Launched(
        file=str(path),
        path=path,
        plugins=plugins,
        plugin_folder=sweep.study.plugin_folder,
        again=f"mtlab sweep {file}",
        launcher=launcher,
    )
    return run_study(study, store, workers, policy, report=False)


def _conclude(ended: SweepOutcome, store: Store, name: str, file: str, code: int) -> int:
    """Print what came of it: problems, the table, paths, and what to do next."""
    from mtlab.cli.sweep.status import print_report

    outcome = ended.launch
    if outcome.message:
        typer.echo(outcome.message, err=True)
    if outcome.interrupted or code == 130:
        typer.echo(f"interrupted; `mtlab sweep {file}` goes on from here", err=True)
        return 130
    print_report(store, store.plan(name))
    if not ended.complete:
        typer.echo(f"not finished; `mtlab sweep {file}` goes on from here", err=True)
    elif ended.external_failures:
        typer.echo(f"{ended.external_failures} trials failed; `mtlab sweep {file}` tries them again", err=True)
    typer.echo(f"next: mtlab sweep best {file} --as {name}-best.yaml · mtlab sweep dashboard {file}")
    return code
