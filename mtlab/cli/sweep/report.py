"""`mtlab sweep report`: what each variant's search has found, and the tuned variants compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mtlab.cli.options import StoredSweep, StoreOption
from mtlab.cli.output import unless_unwritable
from mtlab.cli.stored import stored_sweep_name

if TYPE_CHECKING:
    from mtlab.report.sweep_report import SweepReport
    from mtlab.runs.store import Store


def report(
    file: StoredSweep,
    format: Annotated[  # noqa: A002 - the option is called so
        Literal["md", "json", "html"] | None,
        typer.Option("--format", help="Markdown, JSON, or one page with all figures.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
    store: StoreOption = None,
) -> None:
    """Show what each variant's search has found, and the tuned variants against each other."""
    from mtlab.files import write_text
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    stored = opened.plan(stored_sweep_name(file, opened))
    if format is None and out is None:
        print_report(opened, stored)
        return
    endings: dict[str, Literal["md", "json", "html"]] = {".json": "json", ".html": "html"}
    ending: Literal["md", "json", "html"] = endings.get("" if out is None else out.suffix, "md")
    text = render_report(opened, stored, format or ending)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        typer.echo(f"written to {out}")


def _build(store: Store, plan: Mapping[str, Any]) -> SweepReport:
    """Build a sweep's report."""
    from mtlab.report.sweep_report import build_sweep_report
    from mtlab.sweeps.stored import open_sweep

    with open_sweep(store, plan) as (_, searches):
        return build_sweep_report(store, plan, searches)


def render_report(store: Store, plan: Mapping[str, Any], wanted: Literal["md", "json", "html"]) -> str:
    """Return a sweep's report as text."""
    from mtlab.report.formats.sweep_tables import sweep_markdown

    if wanted == "html":
        return _page(store, plan)
    report = _build(store, plan)
    return report.to_json() if wanted == "json" else sweep_markdown(report)


def _page(store: Store, plan: Mapping[str, Any]) -> str:
    """Return a sweep's page."""
    from mtlab.report.page.sweep_page import sweep_page
    from mtlab.sweeps.stored import open_sweep

    with open_sweep(store, plan) as (_, searches):
        return sweep_page(store, plan, searches)


def print_report(store: Store, plan: Mapping[str, Any]) -> None:
    """Print a sweep's tables, and write its report into its folder."""
    from rich.console import Console

    from mtlab.files import write_text
    from mtlab.report.formats import sweep_tables

    report, console = _build(store, plan), Console(highlight=False)
    console.print(sweep_tables.render_sweep(report, console.width))
    folder = store.study(plan["study"]) / "report"
    with unless_unwritable():
        write_text(folder / "report.md", sweep_tables.sweep_markdown(report))
        write_text(folder / "report.json", report.to_json())
        write_text(folder / "report.html", _page(store, plan))
        typer.echo(f"written to {folder / 'report.html'} (a page with figures), report.md and report.json")
