"""Words in a row and patches over their image, each in the colour of the level that it draws on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.components import Component
from mtlab.recording.reader import Missing, PatchGrid
from mtlab.recording.run_dataset import ImageArray
from mtlab.recording.token_levels import TokenLevels
from mtlab.report.figures import theme
from mtlab.report.figures.layers.words_and_patches import image_uri

MAX_NUMBERED = 200  #: patches; with more, their numbers would be too small to read
MIN_SHARE = 0.08  #: share of a bar that has room for its number


@dataclass(frozen=True)
class TokenMarks:
    """The tokens of one example at one cross-modal layer, and how they are coloured."""

    tokens: Sequence[TokenLevels]
    levels: tuple[int, ...]  #: offered, lowest first
    chosen: int  #: index of the selected token
    level: int | None  #: that colours show; None: the strongest of each token

    @property
    def colours(self) -> dict[int, str]:
        """Level → its colour."""
        return dict(zip(self.levels, theme.level_colours(len(self.levels)), strict=True))

    def strength(self, token: TokenLevels) -> float:
        """Return how far the strongest level leads, or the share of the shown level; 0 to 1."""
        if self.level is None:
            return token.strength
        total = sum(token.shares)
        return token.shares[self.levels.index(self.level)] / total if self.level in self.levels and total else 0.0

    def tint(self, token: TokenLevels) -> dict[str, str]:
        """Return the CSS variables of a token's colour, on one scale for all runs.

        The square root lifts small strengths: otherwise levels that are almost alike would have no colour.
        """
        level = token.level if self.level is None else self.level
        strength = 0.1 + 0.9 * self.strength(token) ** 0.5
        return {"--tint": self.colours.get(level, theme.NEUTRAL), "--strength": f"{100 * strength:.0f}%"}

    def number(self, token: TokenLevels) -> str:
        """Return the level, or the share of the shown level in per cent."""
        return str(token.level) if self.level is None else f"{100 * self.strength(token):.0f}"


def row(marks: TokenMarks, name: str, *, choosable: bool) -> Component:
    """Draw tokens in a row, each with the number that its colour stands for.

    Args:
        marks: the tokens.
        name: of a token, which is also the name that it sets in the address.
        choosable: make the tokens radio buttons.

    """
    cells = {
        place: html.Span(
            [html.Span(token.token, className="word"), html.Span(marks.number(token), className="number")],
            className="token",
            style=marks.tint(token),
            title=_tooltip(token),
        )
        for place, token in enumerate(marks.tokens)
    }
    return _token_group(name, cells, marks.chosen, "words", {}, choosable=choosable)


def patches(marks: TokenMarks, grid: PatchGrid, image: ImageArray | Missing, *, choosable: bool) -> list[Component]:
    """Draw the image, and beside it the image under coloured patches; tokens without a place are listed below."""
    numbered = grid.rows * grid.columns <= MAX_NUMBERED
    cells = {
        place: html.Span(
            html.Span(marks.number(token), className="number") if numbered else "",
            className="patch",
            style=marks.tint(token),
            title=_tooltip(token),
        )
        for place, token in enumerate(marks.tokens)
        if token.place is not None
    }
    style = {"--columns": str(grid.columns), "--rows": str(grid.rows)}
    original: list[Component] = []
    if not isinstance(image, Missing):
        source = image_uri(image)
        style["backgroundImage"] = f"url({source})"
        original = [html.Img(src=source, alt="The picture that is asked about", className="picture")]
    over = html.Div(_token_group("patch", cells, marks.chosen, "patches", style, choosable=choosable), className="over")
    parts: list[Component] = [html.Div([*original, over], className="pictures")]
    if isinstance(image, Missing):
        parts.insert(0, components.quiet_text(f"Without the picture: {image.why}."))
    nowhere = [_tooltip(token) for token in marks.tokens if token.place is None]
    if nowhere:
        parts.append(components.quiet_text(f"Tokens that lie nowhere in the picture: {', '.join(nowhere)}."))
    return parts


def legend(marks: TokenMarks) -> Component:
    """Draw the legend of the colours."""
    chips = [
        html.Li(
            [components.swatch(colour), f"level {level}"], className="" if marks.level in (None, level) else "faded"
        )
        for level, colour in marks.colours.items()
    ]
    text = "number: the strongest level; stronger colour: it leads the others further"
    if marks.level is not None:
        text = f"number: per cent from level {marks.level}; stronger colour: more of it"
    return html.Div([html.Ul(chips, className="key"), html.Span(text, className="quiet")], className="legend")


def bar(name: str, token: TokenLevels, colours: Mapping[int, str], *, here: bool) -> Component:
    """Draw the shares of one token's levels as a bar."""
    total = sum(token.shares) or 1.0
    shares = {level: share / total for level, share in zip(colours, token.shares, strict=True)}
    text = ", ".join(f"level {level} {100 * share:.0f} %" for level, share in shares.items())
    segments = [
        html.Span(
            str(level) if share > MIN_SHARE else "",
            style={"width": f"{100 * share:.2f}%", "background": colours[level]},
            className="segment",
        )
        for level, share in shares.items()
    ]
    stack = html.Div(segments, className="stack", role="img", title=text, **components.aria_label(text))
    return html.Div([html.Span(name, className="depth"), stack], className="line here" if here else "line")


def _token_group(
    name: str, cells: Mapping[int, Component], chosen: int, kind: str, style: dict[str, str], *, choosable: bool
) -> Component:
    """Lay tokens out, as radio buttons or as plain text."""
    if not choosable:
        marked = [
            html.Span(cell, className="beside chosen" if place == chosen else "beside") for place, cell in cells.items()
        ]
        return html.Div(marked, className=kind, style=style)
    buttons = dcc.RadioItems(
        options=[{"value": str(place + 1), "label": cell} for place, cell in cells.items()],
        value=str(chosen + 1) if chosen in cells else None,
        id=controls.control_id(name, "1"),
        className=kind,
        style=style,
    )
    return html.Div(buttons, role="group", **components.aria_label(f"Choose a {name}"))


def _tooltip(token: TokenLevels) -> str:
    return f"{token.token}: level {token.level}"
