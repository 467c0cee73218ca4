"""`mtlab figures`: the figures of a study as files, for papers and slides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mtlab.cli.options import StoredStudy, StoreOption
from mtlab.cli.stored import stored_study_name
from mtlab.errors import UserError, nearest

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mtlab.report.page.figure_group import FigureGroup

Format = Literal["png", "svg", "pdf"]


def figures(
    file: StoredStudy,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIGURE]...", help="Only these, such as aggregation; `--list` shows all."),
    ] = None,
    format: Annotated[  # noqa: A002 - the option is called so
        Format, typer.Option("--format", help="What the files are.")
    ] = "png",
    width: Annotated[int, typer.Option(min=300, max=4000, help="Width in pixels; a PNG has twice as many.")] = 760,
    dark: Annotated[bool, typer.Option("--dark", help="Light on dark, for slides.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder.", show_default="the study's folder in the store")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the figures, and write none.")] = False,
    store: StoreOption = None,
) -> None:
    """Write the figures of a study as PNG, SVG or PDF: which layers managers use, curves, comparisons, costs.

    A figure with selectors on the page of `mtlab report --format html` becomes a file for each choice. What cannot be
    drawn, since runs did not record it, is listed.
    """
    from mtlab.report.figures import render, theme
    from mtlab.report.page import study_figures
    from mtlab.report.study import StudyResults
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    plan = opened.plan(stored_study_name(file, opened))
    if plan.get("kind") == "sweep":
        raise UserError(f"is a sweep: its figures are in `mtlab sweep report {file}`", file=file)
    drawn = study_figures.all_figures(StudyResults(opened, plan))
    if listed:
        for gallery in drawn:
            typer.echo(f"{gallery.id:14} {gallery.title}")
        return
    folder = out or opened.study(plan["study"]) / "figures"
    found = dict(_files(_chosen(drawn, names or []), folder, format))
    for path, figure in found.items():
        if not figure.data:
            typer.echo(f"{path.stem}: {figure.layout.meta.get('why', 'there is nothing to draw')}", err=True)
    ready = {path: theme.resize(figure, width) for path, figure in found.items() if figure.data}
    if ready:
        typer.echo(f"drawing {len(ready)} figures")
    render.write_figures({path: theme.dark(figure) if dark else figure for path, figure in ready.items()})
    for path in ready:
        typer.echo(f"written to {path}")
    if not ready:
        raise typer.Exit(1)


def _chosen(drawn: Sequence[FigureGroup], names: Sequence[str]) -> list[FigureGroup]:
    known = [gallery.id for gallery in drawn]
    for name in names:
        if name not in known:
            raise UserError(f"no figure {name!r}; {nearest(name, known)}", file="command line")
    return [gallery for gallery in drawn if not names or gallery.id in names]


def _files(chosen: Sequence[FigureGroup], folder: Path, ending: str) -> Iterator[tuple[Path, go.Figure]]:
    """Name a file for every choice of every figure."""
    for gallery in chosen:
        for key, figure in gallery.figures.items():
            yield folder / f"{'-'.join(map(_plain, (gallery.id, *filter(None, key))))}.{ending}", figure


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")
