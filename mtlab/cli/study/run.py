"""`mtlab run`: execute the unfinished runs of a study, then show the table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.background import detach as go_on_in_background
from mtlab.cli.background import repeated_words
from mtlab.cli.options import (
    DetachOption,
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
from mtlab.cli.terminal import outlive_readers

if TYPE_CHECKING:
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.runs.store import Store


def run(
    context: typer.Context,
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
    detach: DetachOption = False,
) -> None:
    """Run a study: everything that its plan asks for and the store lacks. Finished runs are never redone.

    Ctrl-C stops it cleanly; the same command goes on from there.
    """
    from mtlab.config.load import find_study_file
    from mtlab.runs.store import Store, store_root
    from mtlab.studies.spec import read_study

    outlive_readers()
    policy = make_policy(retries, fail_fast=fail_fast, keep_going=keep_going)
    path = find_study_file(file)
    opened = Store.open(store_root(store), create=True)
    if detach:
        name = read_study(path, overrides or ()).name
        words = ["run", *repeated_words(context, opened)]
        raise typer.Exit(go_on_in_background(words, opened, name, ("status", name, "--watch"), quiet=quiet))
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
    launcher: str | None = None  #: instead of the file's


def run_study(
    study: StudyCommand, store: Store, workers: int | None, policy: LaunchPolicy, *, report: bool = True
) -> int:
    """Plan a study, execute its unfinished runs, and print the result, with or without its table and how to go on.

    Returns:
        The exit code.

    Raises:
        UserError: it is wrong, or cannot be run here.

    """
    from mtlab.cli.study.report import print_report
    from mtlab.launch.prepare import plan_study
    from mtlab.launch.views.live import make_view
    from mtlab.report.sync.process import describe_sync
    from mtlab.workflow.execute import describe_problems, execute_study

    done = execute_study(
        partial(plan_study, study.path, study.overrides, plugins=study.plugins, plugin_folder=study.plugin_folder),
        store,
        policy=policy,
        view=make_view,
        log=typer.echo,
        warn=partial(typer.echo, err=True),
        launcher=study.launcher,
        workers=workers,
        replace=study.replace,
    )
    for line in describe_problems(done, store):
        typer.echo(line, err=True)
    if report and done.outcome.interrupted:
        typer.echo("interrupted; the same command goes on from here", err=True)
    elif report:
        print_report(store, dict(done.plan), study.file)
    if done.sync is not None:
        for line in describe_sync(done.sync):
            typer.echo(line)
    return done.outcome.exit_code
