"""`mtlab sweep report`: what each variant's search has found, and the tuned variants compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from mtlab.cli.options import StoredSweep, StoreOption
from mtlab.cli.output import print_or_write, unless_unwritable, wanted_format
from mtlab.cli.stored import stored_sweep_name

if TYPE_CHECKING:
    from mtlab.runs.store import Store

Format = Literal["md", "json", "html"]


def report(
    file: StoredSweep,
    format: Annotated[  # noqa: A002 - the option is called so
        Format | None,
        typer.Option("--format", help="Markdown, JSON, or one page with all figures.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
    store: StoreOption = None,
) -> None:
    """Show what each variant's search has found, and the tuned variants against each other."""
    from mtlab.report.formats.sweep_tables import sweep_markdown
    from mtlab.report.page.sweep_page import sweep_page
    from mtlab.report.sweep_report import build_sweep_report
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.stored import open_sweep

    opened = Store.open(store_root(store))
    stored = opened.plan(stored_sweep_name(file, opened))
    wanted = wanted_format(format, out, get_args(Format))
    if wanted is None:
        print_report(opened, stored)
        return
    with open_sweep(opened, stored) as (_, searches):
        built = build_sweep_report(opened, stored, searches)
        if wanted == "html":
            text = sweep_page(opened, searches, built)
        else:
            text = built.to_json() if wanted == "json" else sweep_markdown(built)
    print_or_write(text, out)


def print_report(store: Store, plan: Mapping[str, Any]) -> None:
    """Print a sweep's tables, and write its report into its folder."""
    from rich.console import Console

    from mtlab.files import write_text
    from mtlab.report.formats import sweep_tables
    from mtlab.report.page.sweep_page import sweep_page
    from mtlab.report.sweep_report import build_sweep_report
    from mtlab.sweeps.stored import open_sweep

    console = Console(highlight=False)
    with open_sweep(store, plan) as (_, searches):
        report = build_sweep_report(store, plan, searches)
        console.print(sweep_tables.render_sweep(report, console.width))
        page = sweep_page(store, searches, report)
    folder = store.study(plan["study"]) / "report"
    with unless_unwritable():
        write_text(folder / "report.md", sweep_tables.sweep_markdown(report))
        write_text(folder / "report.json", report.to_json())
        write_text(folder / "report.html", page)
        typer.echo(f"written to {folder / 'report.html'} (a page with figures), report.md and report.json")
