"""Plots the words and patches of one example, coloured by the level that they draw on."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlab.recording.reader import Kind, Modality, PatchGrid, Tokens
from mtlab.recording.run_dataset import ImageArray
from mtlab.recording.token_levels import PREVIOUS, TokenLevels, token_levels
from mtlab.report.figures import panels, theme

_ONE = "One example of one run: an anecdote"


def plot_words(tokens: Tokens, example: int, depth: int, kind: Kind = "contributions") -> go.Figure:
    """Plot a bar of the levels' parts for each word of an example, at one cross-modal layer."""
    found = token_levels(tokens, example, "text", depth, kind)
    title = f"Levels that each word draws on, {_layer(tokens, depth)}"
    return _bars(found, title, _caption(tokens, example, kind, "text", depth), kind)


def plot_patches(
    tokens: Tokens, example: int, depth: int, kind: Kind = "contributions", image: ImageArray | None = None
) -> go.Figure:
    """Plot the level that each patch draws on most, by number and colour, stronger the further it leads.

    Without a grid, image tokens are plotted as words are.

    Args:
        tokens: what a run recorded.
        example: its place in `tokens.examples`.
        depth: of the cross-modal layer, from 0.
        kind: contributions or weights.
        image: [H, W, 3] RGB to draw the patches over; None where it is not available.

    """
    found = token_levels(tokens, example, "image", depth, kind)
    title = f"Level that each patch draws on most, {_layer(tokens, depth)}"
    caption = _caption(tokens, example, kind, "image", depth)
    if tokens.grid is None or not any(each.place for each in found):
        return _bars(found, title.replace(" most", "").replace("patch", "image token"), caption, kind)
    return _over(found, tokens.grid, title, caption, image)


def _layer(tokens: Tokens, depth: int) -> str:
    word = "cross-modal layer" if tokens.first_layer else "layer of the language model"
    return f"{word} {depth + tokens.first_layer}"


def _over(
    found: Sequence[TokenLevels],
    grid: PatchGrid,
    title: str,
    caption: str,
    image: ImageArray | None,
) -> go.Figure:
    levels = found[0].levels
    colours = dict(zip(levels, theme.level_colours(len(levels)), strict=True))
    figure = make_subplots(1, 2, horizontal_spacing=0.04) if image is not None else make_subplots(1, 1)
    last = 1 if image is None else 2
    if image is not None:
        figure.add_layout_image(_layout_image(image, grid), row=1, col=1)
        figure.add_trace(_corners(grid), row=1, col=1)
    figure.add_layout_image(_layout_image(_tint_patches(found, grid, colours, image), grid), row=1, col=last)
    named = [each for each in found if each.place is not None]
    figure.add_trace(
        go.Scatter(
            x=[each.place[1] for each in named if each.place],
            y=[each.place[0] for each in named if each.place],
            mode="text" if grid.rows * grid.columns <= 150 else "markers",
            text=["–" if each.level is None else str(each.level) for each in named],
            textfont={"color": "white", "size": 12, "shadow": "0px 0px 3px black"},
            marker={"opacity": 0},
            customdata=[_shares(each) for each in named],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=last,
    )
    figure.add_trace(_corners(grid), row=1, col=last)
    used = {each.level for each in found}
    figure.add_traces(
        [panels.legend_entry(f"level {level}", colours[level], "square", 11) for level in levels if level in used],
        rows=1,
        cols=last,
    )
    figure.update_xaxes(visible=False, range=[-0.5, grid.columns - 0.5], constrain="domain")
    figure.update_yaxes(visible=False, range=[grid.rows - 0.5, -0.5], constrain="domain")
    for axis in ("x", "x2")[:last]:
        figure.update_yaxes(scaleanchor=axis, scaleratio=1, selector={"anchor": axis})
    if None in used:
        entry = panels.legend_entry("previous state alone", theme.NEUTRAL, "square", 11)
        figure.add_trace(entry, row=1, col=last)
    prefix = [f"{each.token}: {_strongest(each)}" for each in found if each.place is None]
    without = f" Tokens that lie nowhere in the picture: {', '.join(prefix)}." if prefix else ""
    caption = f"{caption} Stronger colour: the level leads the other levels further.{without}"
    return theme.finish(figure, title, caption, height=350)


def _bars(found: Sequence[TokenLevels], title: str, caption: str, kind: Kind) -> go.Figure:
    if not found:
        return theme.empty(title, f"No {kind} of single tokens were recorded for this layer.")
    figure, levels = go.Figure(), found[0].levels
    for number, (level, colour) in enumerate(zip(levels, theme.level_colours(len(levels)), strict=True)):
        shares = [each.shares[number] for each in found]
        if any(share is not None for share in shares):
            figure.add_trace(_bar(found, shares, f"level {level}", colour))
    if any(each.previous is not None for each in found):
        figure.add_trace(panels.hatch(_bar(found, [each.previous or 0.0 for each in found], PREVIOUS, theme.NEUTRAL)))
    figure.update_layout(barmode="relative", bargap=0.12, legend_traceorder="normal")
    figure.update_xaxes(tickvals=list(range(len(found))), ticktext=[theme.escape_markup(each.token) for each in found])
    figure.update_yaxes(title_text=panels.KINDS[kind], rangemode="tozero")
    return theme.finish(figure, title, caption, height=340)


def _bar(found: Sequence[TokenLevels], values: Sequence[float | None], name: str, colour: str) -> go.Bar:
    return go.Bar(
        x=list(range(len(found))),
        y=list(values),
        name=name,
        marker_color=colour,
        customdata=[theme.escape_markup(each.token) for each in found],
        hovertemplate="%{customdata}, %{fullData.name}: %{y:.3f}<extra></extra>",
    )


def _caption(tokens: Tokens, example: int, kind: Kind, modality: Modality, depth: int) -> str:
    shown = tokens.examples[example]
    answers = [f"{name}: {value}" for name, value in (("predicted", shown.prediction), ("right", shown.truth)) if value]
    meaning = panels.explain_kind(kind, by_removal=tokens.by_removal(modality, depth))
    return f"“{shown.text}” ({', '.join([shown.id, *answers])}). {meaning} {_ONE}."


def _strongest(each: TokenLevels) -> str:
    return "previous state alone" if each.level is None else f"level {each.level}"


def _shares(each: TokenLevels) -> str:
    pairs = (f"{name}: {share:.3f}" for name, share in each.parts.items())
    return "<br>".join([theme.escape_markup(each.token), *pairs])


def _corners(grid: PatchGrid) -> go.Scatter:
    """Make an invisible trace that spans the axes, which images alone do not."""
    return go.Scatter(
        x=[-0.5, grid.columns - 0.5],
        y=[-0.5, grid.rows - 0.5],
        mode="markers",
        marker={"opacity": 0},
        hoverinfo="skip",
        showlegend=False,
    )


def _layout_image(image: ImageArray, grid: PatchGrid) -> Mapping[str, Any]:
    """Return a layout image that fills a grid of patches."""
    return {
        "source": image_uri(image),
        "x": -0.5,
        "y": -0.5,
        "sizex": grid.columns,
        "sizey": grid.rows,
        "sizing": "stretch",
        "layer": "below",
    }


def _tint_patches(
    found: Sequence[TokenLevels],
    grid: PatchGrid,
    colours: Mapping[int, str],
    image: ImageArray | None,
    cell: int = 40,
) -> ImageArray:
    """Return an image of the coloured patches over the greyed image, or over grey."""
    size = (grid.columns * cell, grid.rows * cell)
    if image is None:
        ground = np.full((size[1], size[0], 3), 128.0)
    else:
        from PIL import Image

        grey = np.asarray(Image.fromarray(image).convert("L").resize(size), dtype=float)
        ground = np.repeat(grey[:, :, None], 3, axis=2) * 0.75
    for each in found:
        if each.place is None:
            continue
        row, column = each.place
        part = (slice(row * cell + 1, (row + 1) * cell - 1), slice(column * cell + 1, (column + 1) * cell - 1))
        tint = theme.NEUTRAL if each.level is None else colours[each.level]
        colour = np.array([int(tint[at : at + 2], 16) for at in (1, 3, 5)], dtype=float)
        opacity = np.full((cell - 2, cell - 2, 1), 0.2 + 0.65 * each.colour_strength)
        if each.level is None:  # hatched
            opacity[np.add.outer(np.arange(cell - 2), np.arange(cell - 2)) % 10 < 4] = 0.35
        ground[part] = (1 - opacity) * ground[part] + opacity * colour
    return ground.round().astype(np.uint8)


def image_uri(image: ImageArray) -> str:
    """Encode an image as PNG in a data URI."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
