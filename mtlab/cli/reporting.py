"""`mtlab report`: the table of a study, from its stored plan and finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mtlab.cli.common import StoreOption

if TYPE_CHECKING:
    from mtlab.analysis.report import Report
    from mtlab.studies.store import Store

Format = Literal["md", "json", "svg"]


def report(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Study file, recipe, or name of a study in the store.")],
    format: Annotated[  # noqa: A002 - the option is called so
        Format | None, typer.Option("--format", help="Markdown, JSON, or a picture of the table.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json (docs/json.md).")] = False,
) -> None:
    """Compare the variants of a study: mean ± interval over seeds, difference to the baseline, verdict, cost."""
    from mtlab.analysis.report import build
    from mtlab.cli.state import note_changed, study_name
    from mtlab.files import write_text
    from mtlab.studies.store import Store, store_root

    opened = Store.open(store_root(store))
    plan = opened.plan(study_name(file, opened))
    wanted: str | None = "json" if as_json else format
    if wanted is None and out is None:
        print_report(opened, plan)
    else:
        made = build(opened, plan)
        if wanted is None:
            wanted = {".json": "json", ".svg": "svg"}.get(out.suffix if out is not None else "", "md")
        text = picture(made) if wanted == "svg" else made.to_json() if wanted == "json" else made.to_markdown()
        if out is None:
            typer.echo(text, nl=not text.endswith("\n"))
        else:
            write_text(out, text)
            typer.echo(f"written to {out}")
    note_changed(file, opened)


def picture(made: Report) -> str:
    """Draw the terminal's table as SVG."""
    import io
    import re

    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(made.to_table(console.width))
    drawn = console.export_svg(title=f"mtlab report {made.study}")
    return re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # they would be fetched from elsewhere


def print_report(store: Store, plan: dict[str, Any]) -> None:
    """Print the table for the terminal, and write the report into the study's folder."""
    from rich.console import Console

    from mtlab.analysis.report import build
    from mtlab.files import write_text

    made, console = build(store, plan), Console(highlight=False)
    console.print(made.to_table(console.width))
    folder = store.study(plan["study"]) / "report"
    write_text(folder / "report.md", made.to_markdown())
    write_text(folder / "report.json", made.to_json())
    typer.echo(f"written to {folder / 'report.md'} and report.json")
