"""Arranges the panels of a figure for the width at hand: in fewer columns below one another where it is narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

PANEL = 130  #: least width of a panel, in pixels
_EDGES = 90  #: pixels beside the panels: tick labels and title of the vertical axis, and the right margin
_LETTER = 6  #: pixels of a letter of a column title
_TICKS = 34  #: pixels below a panel for its tick labels
_HEADING = 30  #: pixels above a panel for its column title


@dataclass(frozen=True)
class Arrangement:
    """A number of columns, the width that they need, and what they change in the layout."""

    columns: int
    width: int  #: pixels
    layout: dict[str, Any]  #: empty for the figure's own arrangement


@dataclass(frozen=True)
class _Grid:
    """The panels of a figure, row by row from the top: numbers of their axes, from 1."""

    rows: tuple[tuple[int, ...], ...]
    heights: tuple[float, ...]  #: pixels of the panels of each row
    titles: tuple[str, ...]  #: of the columns
    names: tuple[str, ...]  #: of the rows: titles of their leftmost vertical axes


def arrangements(figure: go.Figure) -> list[Arrangement]:
    """Return the arrangements of a finished figure, the widest first: all columns, half of them, … one."""
    grid = _read_grid(figure)
    columns = 1 if grid is None else len(grid.rows[0])
    found = [Arrangement(columns, _needed_width(figure, grid, columns), {})]
    if grid is not None and columns > 1:
        for fewer in sorted({-(-columns // blocks) for blocks in range(2, columns + 1)}, reverse=True):
            layout = _stack(figure, grid, fewer)
            found.append(Arrangement(fewer, _needed_width(figure, grid, fewer), layout))
    return found


def arrange(figure: go.Figure, width: int) -> go.Figure:
    """Arrange a figure in place for a width in pixels, as wide as fits."""
    options = arrangements(figure)
    chosen = next((option for option in options if option.width <= width), options[-1])
    if chosen.layout:
        layout = dict(chosen.layout)
        figure.layout.annotations = layout.pop("annotations")
        figure.update_layout(meta={**figure.layout.meta, "height": layout.pop("height")}, **layout)
    return figure


def panel_names(figure: go.Figure) -> dict[str, str]:
    """Name the panels of a finished figure by their vertical axes, such as y2: column title, then row name."""
    grid = _read_grid(figure)
    if grid is None:
        return {}
    return {
        f"y{_suffix(axis)}": ": ".join(part for part in (title, _axis(figure, "y", axis).title.text or name) if part)
        for row, name in zip(grid.rows, grid.names, strict=True)
        for axis, title in zip(row, grid.titles, strict=True)
    }


def _read_grid(figure: go.Figure) -> _Grid | None:
    """Read the grid of panels from the domains of the axes; None without one."""
    numbers = [int(axis.plotly_name.removeprefix("xaxis") or 1) for axis in figure.select_xaxes()]
    places: dict[float, dict[float, int]] = {}
    for number in numbers:
        x, y = _axis(figure, "x", number), _axis(figure, "y", number)
        if x.domain is None or y.domain is None:
            return None
        places.setdefault(round(y.domain[1], 4), {})[round(x.domain[0], 4)] = number
    rows = tuple(tuple(row[start] for start in sorted(row)) for _, row in sorted(places.items(), reverse=True))
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    plot = _plot_height(figure)
    domains = [_axis(figure, "y", row[0]).domain for row in rows]
    middles = [sum(_axis(figure, "x", number).domain) / 2 for number in rows[0]]
    titles = [next((note.text for note in _titles(figure) if abs(note.x - at) < 1e-3), "") for at in middles]
    names = [_axis(figure, "y", row[0]).title.text or "" for row in rows]
    return _Grid(rows, tuple(plot * (high - low) for low, high in domains), tuple(titles), tuple(names))


def _stack(figure: go.Figure, grid: _Grid, columns: int) -> dict[str, Any]:
    """Lay the panels out in `columns` columns: blocks of all rows below one another."""
    blocks = [range(start, min(start + columns, len(grid.titles))) for start in range(0, len(grid.titles), columns)]
    gap = 0.0 if columns == 1 else 0.16 / max(4, columns)
    share = (1 - gap * (columns - 1)) / columns
    heading = _HEADING if any(grid.titles) else 8
    ticks = [_TICKS if _shows_ticks(figure, row[0]) else 12 for row in grid.rows]
    block = sum(grid.heights) + sum(ticks)
    total = len(blocks) * (block + heading) - heading - ticks[-1]
    layout: dict[str, Any] = {}
    titles = _titles(figure)
    notes = [note.to_plotly_json() for note in figure.layout.annotations if note not in titles]
    size = titles[0].font.size if titles else None
    top = 0.0
    for number, members in enumerate(blocks):
        last = number == len(blocks) - 1
        for place, column in enumerate(members):
            start = place * (share + gap)
            if grid.titles[column]:
                notes.append(_title(grid.titles[column], start + share / 2, 1 - top / total, size or 12))
            down = top
            for row, axes in enumerate(grid.rows):
                axis, ends = axes[column], [1 - (down + grid.heights[row]) / total, 1 - down / total]
                layout[f"xaxis{_suffix(axis)}"] = {"domain": [start, start + share]}
                vertical: dict[str, Any] = {"domain": [max(0.0, ends[0]), ends[1]]}
                if place == 0:
                    vertical |= {"showticklabels": True, "title": {"text": grid.names[row]}}
                layout[f"yaxis{_suffix(axis)}"] = vertical
                if not last and row == len(grid.rows) - 1:
                    layout[f"xaxis{_suffix(axis)}"]["title"] = {"text": ""}
                down += grid.heights[row] + ticks[row]
        top += block + heading
    height = figure.layout.meta["height"] - _plot_height(figure) + total
    return {**layout, "annotations": notes, "height": round(height)}


def _needed_width(figure: go.Figure, grid: _Grid | None, columns: int) -> int:
    names = [str(name) for trace in figure.data if trace.y is not None for name in trace.y if isinstance(name, str)]
    names += [str(text) for axis in figure.select_yaxes() for text in axis.ticktext or ()]
    beside = 5 * max((len(line) for name in names for line in name.split("<br>")), default=0)
    titles = [axis.title.text for axis in figure.select_xaxes()] + list(grid.titles if grid is not None else ())
    panel = max(PANEL, 10 + _LETTER * max((len(title) for title in titles if title), default=0))
    return _EDGES + beside + panel * columns


def _plot_height(figure: go.Figure) -> float:
    """Return the pixels of the panels in the figure's own arrangement, without title and caption."""
    margin = figure.layout.template.layout.margin.b if figure.layout.margin.b is None else figure.layout.margin.b
    return float(figure.layout.meta["height"] - (30 if _titles(figure) else 10) - margin)


def _titles(figure: go.Figure) -> Sequence[Any]:
    """Return the titles of columns: annotations at the top of the plot."""
    return [note for note in figure.layout.annotations if note.xref == note.yref == "paper" and note.y == 1]


def _title(text: str, x: float, y: float, size: float) -> dict[str, Any]:
    at = {"x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": size}, **at}


def _shows_ticks(figure: go.Figure, axis: int) -> bool:
    return _axis(figure, "x", axis).showticklabels is not False


def _axis(figure: go.Figure, letter: str, number: int) -> Any:
    return figure.layout[f"{letter}axis{_suffix(number)}"]


def _suffix(number: int) -> str:
    return "" if number == 1 else str(number)
