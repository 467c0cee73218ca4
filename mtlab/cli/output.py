"""Output that several commands share: JSON, sizes, progress bars."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mtlab.errors import UserError
from mtlab.files import DiskError, ReadOnlyError, json_text
from mtlab.output_file import write_output

if TYPE_CHECKING:
    from rich.table import Table

    from mtlab.runs.store import Store
    from mtlab.studies.budget.time_estimate import TimeEstimate
    from mtlab.studies.plan import Plan

EVERY = 30.0  #: seconds between two lines on something of which the whole is not known


def print_json(data: Any) -> None:
    """Print plain data as JSON."""
    typer.echo(json_text(data), nl=False)


def wanted_format(given: str | None, out: Path | None, formats: Iterable[str], *, as_json: bool = False) -> str | None:
    """Return the format that is asked for: by an option, else by the ending of the file; None: for the terminal.

    Args:
        given: with `--format`.
        out: the file.
        formats: that there are.
        as_json: whether `--json` is given, which counts first.

    Raises:
        UserError: the ending names none.

    """
    if as_json:
        return "json"
    if given is not None or out is None:
        return given
    for each in formats:
        if out.suffix == f".{each}":
            return each
    endings = ", ".join(f".{each}" for each in formats)
    raise UserError(f"ends in none of {endings}: name one, or give --format", file=out)


def print_or_write(text: str, out: Path | None) -> None:
    """Print a text, or write it to a file."""
    if out is None or _is_stdout(out):
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        write_output(out, text)
        typer.echo(f"written to {out}")


def _is_stdout(path: Path) -> bool:
    """Return whether a path is where standard output goes, as /dev/stdout is."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except OSError:
        return False


def print_written_plan(command: str, file: str, overrides: Sequence[str], name: str, store: Store) -> None:
    """Say where a plan is, or that it is a trial, and what comes next.

    Args:
        command: that runs it.
        file: as it was given.
        overrides: `KEY=VALUE`: of a trial.
        name: of the study or sweep.
        store: the run store.

    """
    from mtlab.runs.shell_command import shell_command

    if overrides:
        what = f"`mtlab {command}` with these settings writes {name}"
        typer.echo(f"not written: with KEY=VALUE a plan is a trial; {what}")
    else:
        typer.echo(f"written to {store.study(name) / 'plan.json'}")
    typer.echo(f"next: {shell_command(command, file, *overrides, store=store)}")


def format_bytes(number: int) -> str:
    """Format a number of bytes with a unit."""
    from rich.filesize import decimal

    return decimal(number)


def make_table(*columns: str, numbers: Iterable[str] = (), title: str | None = None) -> Table:
    """Make an empty table for the terminal. Cells are shown as they are: square brackets in a name are no markup.

    Args:
        columns: of text; the first names the rows.
        numbers: further columns, aligned to the right.
        title: above the table.

    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    class PlainTable(Table):
        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    table = PlainTable(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        show_edge=False,
        title=None if title is None else Text(title, "bold"),
        title_justify="left",
    )
    for place, column in enumerate(columns):
        table.add_column(Text(column), overflow="fold", style=None if place else "cyan")
    for column in numbers:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table


def estimate_time(plan: Plan, states: Mapping[str, str]) -> TimeEstimate | None:
    """Estimate how long the missing runs of a plan take here, and say so while steps are timed."""
    from rich.console import Console

    from mtlab.launch.prepare import estimate_here

    with Console(stderr=True).status("timing a few steps, once on this machine"):
        return estimate_here(plan, states)


@contextmanager
def unless_quiet(quiet: bool) -> Iterator[None]:
    """Drop what is printed to standard output where nothing but failures is asked for."""
    if not quiet:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stdout(nothing):
        yield


@contextmanager
def unless_unwritable() -> Iterator[None]:
    """Print a note instead of failing where the store is read-only or full: the terminal shows what would be there."""
    try:
        yield
    except (ReadOnlyError, DiskError) as error:
        typer.echo(f"note: not written: {error}", err=True)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show bars on a terminal, else a line for every tenth, or `EVERY` seconds where the whole is not known, on stderr.

    Yields:
        The callback: what is done, how much is done, of how much in all.

    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    tenths: dict[str, int] = {}
    due: dict[str, float] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def update(what: str, done: int, whole: int | None) -> None:
            if console.is_terminal:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=whole)
                bar.update(tasks[what], completed=done, total=whole)
            elif whole:
                if (tenth := done * 10 // whole) != tenths.get(what):  # less than before: something else is counted
                    tenths[what] = tenth
                    typer.echo(f"{what}: {done:,} of {whole:,}", err=True)
            elif (now := time.monotonic()) >= due.setdefault(what, now + EVERY):
                due[what] = now + EVERY
                typer.echo(f"{what}: {done:,} so far", err=True)

        yield update


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show the progress of one task, see `progress_bars`; yield its callback, which takes done, and total or None."""
    with progress_bars() as update:
        yield partial(update, description)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Yield a callback that shows the current step: in one changing line of a terminal, else in lines of stderr."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda step: console.print(step, soft_wrap=True, markup=False)
        return
    from rich.markup import escape

    with console.status("starting") as status:
        yield lambda step: status.update(escape(step))
