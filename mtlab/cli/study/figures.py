"""`mtlab figures`: the figures of a study as files, for papers and slides."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mtlab.cli.options import StoredStudy, StoreOption
from mtlab.cli.stored import note_changed, stored_study_name
from mtlab.errors import UserError, nearest
from mtlab.units import format_span

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mtlab.report.page.figure_group import FigureGroup

Format = Literal["png", "svg", "pdf"]
LONGEST = 200  #: bytes of a file's name, without its ending: disks take 255, and some are added while it is written


def figures(
    file: StoredStudy,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIGURE]...", help="Only these, such as aggregation; `--list` shows all."),
    ] = None,
    format: Annotated[  # noqa: A002 - the option is called so
        Format, typer.Option("--format", help="What the files are.")
    ] = "png",
    width: Annotated[
        str, typer.Option("--width", help="In pixels (a PNG has twice as many), or such as 84mm, a column of a paper.")
    ] = "760",
    bare: Annotated[bool, typer.Option("--bare", help="Without title and caption, for a paper.")] = False,
    font: Annotated[str | None, typer.Option("--font", help="Name of an installed font.", show_default=False)] = None,
    font_size: Annotated[
        float | None, typer.Option("--font-size", min=4, max=40, help="In points.", show_default="9.75")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Light on dark, for slides.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder.", show_default="the study's folder in the store")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the figures, and write none.")] = False,
    store: StoreOption = None,
) -> None:
    """Write the figures of a study as PNG, SVG or PDF: which layers managers use, curves, comparisons, costs.

    A figure with selectors on the page of `mtlab report --format html` becomes a file for each choice; smoothed curves
    and curves of single seeds are written where the figure is named. Panels that the width has no room for come below
    one another. What cannot be drawn, since runs did not record it, is listed.
    """
    from mtlab.report.figures import render, theme
    from mtlab.report.figures.arrangement import arrange
    from mtlab.report.page import study_figures
    from mtlab.report.study import StudyResults
    from mtlab.runs.store import Store, is_sweep, store_root

    pixels = _parse_width(width)
    opened = Store.open(store_root(store))
    note_changed(file, opened)
    plan = opened.plan(stored_study_name(file, opened))
    if is_sweep(plan):
        raise UserError(f"is a sweep: its figures are in `mtlab sweep report {file}`", file=file)
    drawn = study_figures.all_figures(StudyResults(opened, plan))
    if listed:
        width_of_names = max(len(gallery.id) for gallery in drawn)
        for gallery in drawn:
            typer.echo(f"{gallery.id:{width_of_names}}  {gallery.title}")
        return
    folder = out or opened.study(plan["study"]) / "figures"
    if out is None and opened.archive is not None:
        folder = Path(f"{plan['study']}-figures")
    found = dict(_files(_chosen(drawn, names or []), folder, format, views=bool(names)))
    states = [opened.state(run["id"]) for run in plan["runs"]]
    if "done" not in states and not any(figure.data for figure in found.values()):
        raise UserError(f"no run of {plan['study']!r} is finished yet", file=file)
    for path, figure in found.items():
        if not figure.data:
            typer.echo(f"{path.stem}: {figure.layout.meta.get('why', 'there is nothing to draw')}", err=True)
    ready = {path: figure for path, figure in found.items() if figure.data}
    for path, figure in ready.items():
        coloured = theme.dark(figure) if dark else figure
        styled = coloured if font is None and font_size is None else theme.set_fonts(coloured, font, font_size)
        sized = theme.resize(arrange(styled, pixels), pixels)
        ready[path] = theme.bare(sized) if bare else sized
    if ready:
        typer.echo(f"drawing {format_span([len(ready)], 'figure')}")
        if font is not None and not render.is_font_installed(font):
            typer.echo(
                f"--font {font}: the browser that draws the figures has no such font, and takes another", err=True
            )
    render.write_figures(ready)
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


def _parse_width(text: str) -> int:
    """Read a width in pixels, or in mm, cm or inches at 96 pixels an inch."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(px|mm|cm|in)?", text.strip())
    units = {"px": 1.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
    pixels = round(float(found[1]) * units[found[2] or "px"]) if found else 0
    if not 200 <= pixels <= 4000:
        raise UserError(
            f"{text!r}: expected 200 to 4000 pixels, or a length such as 84mm or 3.3in",
            file="command line",
            key="--width",
        )
    return pixels


def _files(
    chosen: Sequence[FigureGroup], folder: Path, ending: str, *, views: bool
) -> Iterator[tuple[Path, go.Figure]]:
    """Name a file for every choice of every figure; other views of the same numbers only with `views`."""
    taken: set[str] = set()
    for gallery in chosen:
        choices = gallery.drawn_choices
        first = [next(iter(choice.options)) if choice.view else None for choice in choices]
        for key, figure in gallery.figures.items():
            if not views and any(one not in (None, value) for one, value in zip(first, key, strict=True)):
                continue
            name = _stem([gallery.id, *filter(None, key)], taken)
            taken.add(name.casefold())
            yield folder / f"{name}.{ending}", figure


def _stem(parts: Sequence[str], taken: Container[str]) -> str:
    """Name a file by letters and digits of any language, numbered where labels differ in other signs or case alone.

    >>> _stem(["heatmaps", "static, scale × 2"], ()), _stem(["heatmaps", "管理者"], {"heatmaps-管理者"})
    ('heatmaps-static-scale-2', 'heatmaps-管理者-2')
    """
    name = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts)
    name = name.encode()[:LONGEST].decode(errors="ignore")
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(each for each in numbered if each.casefold() not in taken)
