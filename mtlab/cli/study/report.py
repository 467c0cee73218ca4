"""`mtlab report`: the table of a study, from its stored plan and finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from mtlab.cli.options import StoreOption
from mtlab.cli.output import print_or_write, unless_unwritable, wanted_format
from mtlab.cli.stored import note_changed, runnable_file, stored_study_name
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.report.study_report import StudyReport
    from mtlab.runs.store import Store

Format = Literal["md", "json", "svg", "tex", "csv", "html"]
By = Literal["family", "layer", "rank", "run"]


def report(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Study files, recipes, names of studies in the store; or one zip file of `mtlab bundle`.",
        ),
    ],
    format: Annotated[  # noqa: A002 - the option is called so
        Format | None,
        typer.Option(
            "--format",
            help="Markdown, JSON, a picture, LaTeX (booktabs, siunitx), CSV, or a page with all figures.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(
            "--by",
            help="family: a column per family of questions. layer: what each level contributes and is worth. rank: all "
            "pairs compared; variants that share a letter were not told apart. run: a line per run, also of a sweep.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json (docs/json.md).")] = False,
) -> None:
    """Compare the variants of a study: mean ± interval over seeds, difference to the baseline, verdict, cost.

    With --format html, one page with the table, all figures, and where it comes from; it opens without a network.

    With --by rank, all pairs of variants are compared, and letters join those that were not told apart.

    With --by run, the runs with their metrics, areas under the validation curve and times; as CSV and JSON with all
    columns of `mtlab.frame`.

    With --by layer, what each level and the previous state contribute to each cross-modal layer, and what levels are
    worth; as CSV and JSON, a row per run, cross-modal layer and level.

    Several studies stand side by side, variant by variant. Where `train.length` is an axis, so do equal steps and equal
    FLOPs.
    """
    from mtlab.report.export import render_text
    from mtlab.report.study_report import build_report
    from mtlab.runs.shell_command import shell_command
    from mtlab.runs.store import final_name, is_sweep

    opened, files = _open(files, store)
    if by is not None and len(files) > 1:
        raise UserError(f"--by {by} takes one study at a time", file="command line")
    plans = [opened.plan(stored_study_name(file, opened)) for file in files]
    for file, plan in zip(files, plans, strict=True):
        if is_sweep(plan) and by != "run":
            own, tuned = (
                shell_command(*words, store=opened)
                for words in (("sweep", "report", file), ("report", final_name(plan["study"])))
            )
            raise UserError(f"is a sweep: `{own}` reports on it, `{tuned}` compares its tuned variants", file=file)
    wanted = wanted_format(format, out, get_args(Format), as_json=as_json)
    if by in WRITERS:
        WRITERS[by](opened, plans[0], wanted, out)
    elif wanted == "html":
        write_page(opened, plans, by, out)
    elif wanted is None and out is None and by is None and len(plans) == 1:
        print_report(opened, plans[0], runnable_file(files[0], opened))
    else:
        reports = [build_report(opened, plan) for plan in plans]
        if wanted is None:
            _print(reports, by_family=by is not None)
        else:
            print_or_write(render_text(reports, wanted, by_family=by is not None), out)
    for file in files:
        note_changed(file, opened)


def _open(files: Sequence[str], option: Path | None) -> tuple[Store, list[str]]:
    """Open the store, or the archive that is named in place of a study; return it with the studies that are meant."""
    from mtlab.runs.archive import is_archive
    from mtlab.runs.store import Store, store_root

    if not any(is_archive(Path(file)) for file in files):
        return Store.open(store_root(option)), list(files)
    if len(files) > 1:
        raise UserError("an archive is reported on alone: name one, or the studies of one store", file="command line")
    opened = Store.open(Path(files[0]).absolute())
    return opened, opened.study_names()


def write_layers(store: Store, plan: dict[str, Any], wanted: str | None, out: Path | None) -> None:
    """Print or write what the levels contribute and are worth: means over seeds, or as CSV and JSON a row per run.

    Raises:
        UserError: another format than these.

    """
    from rich.console import Console

    from mtlab.report.formats import layer_tables
    from mtlab.report.layer_table import study_rows, worth_metric
    from mtlab.runs.shell_command import shell_command

    _check_format("layer", wanted, layer_tables.FORMATS)
    rows = [row for rows in study_rows(store, plan).values() for row in rows]
    metric = worth_metric(store, plan)
    if wanted is None:
        console = Console(highlight=False)
        console.print(layer_tables.render_terminal(plan["study"], rows, metric, console.width))
        command = shell_command("report", plan["study"], "--by", "layer", "--format", "csv", store=store)
        typer.echo(f"a row per run: {command}, or mtlab.layers() in Python")
    else:
        print_or_write(layer_tables.render_text(plan["study"], rows, metric, wanted), out)


def write_ranking(store: Store, plan: dict[str, Any], wanted: str | None, out: Path | None) -> None:
    """Print or write the variants best first, with letters for those that were not told apart.

    Raises:
        UserError: another format than these, or the study cannot be ranked.

    """
    from rich.console import Console

    from mtlab.report.formats import ranking_table
    from mtlab.report.study import StudyResults

    _check_format("rank", wanted, ranking_table.FORMATS)
    ranking = StudyResults(store, plan).ranking
    if wanted is None:
        console = Console(highlight=False)
        console.print(ranking_table.render_terminal(ranking, console.width))
    else:
        print_or_write(ranking_table.render_text(ranking, wanted), out)


def write_runs(store: Store, plan: dict[str, Any], wanted: str | None, out: Path | None) -> None:
    """Print or write the runs of a study or sweep, one a line.

    Raises:
        UserError: another format than these.

    """
    from rich.console import Console

    from mtlab.report import run_table
    from mtlab.report.frame import add_areas, run_frame
    from mtlab.runs.shell_command import shell_command

    _check_format("run", wanted, run_table.FORMATS)
    runs = add_areas(store, run_frame(store, plan))
    if wanted is None:
        console = Console(highlight=False)
        console.print(run_table.render_terminal(runs, plan, console.width))
        command = shell_command("report", plan["study"], "--by", "run", "--format", "csv", store=store)
        typer.echo(f"all columns: {command}, or mtlab.frame() in Python")
    else:
        print_or_write(run_table.render_text(runs, wanted), out)


def _check_format(by: By, wanted: str | None, formats: Sequence[str]) -> None:
    if wanted is not None and wanted not in formats:
        known = ", ".join(formats)
        raise UserError(f"--by {by} has no format {wanted!r}; it has {known}", file="command line", key="--format")


def write_page(store: Store, plans: Sequence[dict[str, Any]], by: str | None, out: Path | None) -> None:
    """Write the page of a study, by default into its folder.

    Raises:
        UserError: more than one study, or one table of it alone.

    """
    from rich.console import Console

    from mtlab.files import ReadOnlyError
    from mtlab.output_file import write_output
    from mtlab.report.page.study_page import study_page

    if len(plans) > 1:
        raise UserError("a page is of one study at a time", file="command line", key="--format html")
    if by is not None:
        raise UserError("the page holds the table by family already", file="command line", key="--by")
    plan = plans[0]
    path = out or store.study(plan["study"]) / "report" / "report.html"
    if store.archive is not None and out is None:
        path = Path(f"{plan['study']}.html")
    with Console(stderr=True).status(f"drawing the figures of {plan['study']}"):
        text = study_page(store, plan)
    try:
        write_output(path, text)
    except ReadOnlyError as error:
        raise UserError(error.problem.replace("choose another folder", "--out names another file"), file=path) from None
    typer.echo(f"written to {path}: open it in a browser, it needs no network")


def print_report(store: Store, plan: dict[str, Any], file: str) -> None:
    """Print the table, write the report into the study's folder, and say what was found and what to do next.

    Args:
        store: where the runs are.
        plan: the stored plan.
        file: the study as commands take it.

    """
    from mtlab.files import write_text
    from mtlab.report.next_steps import closing_lines
    from mtlab.report.study_report import build_report
    from mtlab.runs.shell_command import shell_command

    report = build_report(store, plan)
    _print([report])
    if store.archive is not None:
        _describe_archive(store.archive, shell_command("dashboard", store=store))
        return
    folder = store.study(plan["study"]) / "report"
    with unless_unwritable():
        write_text(folder / "report.md", report.to_markdown())
        write_text(folder / "report.json", report.to_json())
        typer.echo(f"written to {folder / 'report.md'} and report.json")
    for line in closing_lines(report, file, plan["overrides"], store):
        typer.echo(line)


def _describe_archive(path: Path, dashboard: str) -> None:
    """Say what a report was read from, and how the figures are seen."""
    from mtlab.runs.archive import read_about

    about = read_about(path)
    typer.echo(
        f"read from {path}, packed by mtlab {about.get('mtlab')}; all figures: the report.html in it, or {dashboard}"
    )


def _print(reports: Sequence[StudyReport], *, by_family: bool = False) -> None:
    from rich.console import Console

    from mtlab.report.export import render_terminal

    console = Console(highlight=False)
    console.print(render_terminal(reports, console.width, by_family=by_family))


WRITERS = {"layer": write_layers, "rank": write_ranking, "run": write_runs}
