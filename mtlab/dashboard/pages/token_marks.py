"""Words in a row and patches over their picture, each in the colour of the level that it draws on."""

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

NUMBERED = 200  #: patches; of more, the numbers of their levels would not be read
WIDE = 0.08  #: share of a bar that has room for its number


@dataclass(frozen=True)
class Marks:
    """The tokens of one example at one cross-modal layer, and how they are coloured."""

    tokens: Sequence[TokenLevels]
    levels: tuple[int, ...]  #: offered, lowest first
    chosen: int  #: place of the token that is looked at
    level: int | None  #: that the colours tell of; None: each token's strongest

    @property
    def colours(self) -> dict[int, str]:
        """Level → its colour."""
        return dict(zip(self.levels, theme.level_colours(len(self.levels)), strict=True))

    def strength(self, token: TokenLevels) -> float:
        """How far the strongest level leads, or how much of the token the level makes up; 0 to 1."""
        if self.level is None:
            return token.strength
        total = sum(token.shares)
        return token.shares[self.levels.index(self.level)] / total if self.level in self.levels and total else 0.0

    def tint(self, token: TokenLevels) -> dict[str, str]:
        """Give the variables that a token's style goes by: the same strength is the same everywhere, in any run.

        Small ones are lifted by the root, or levels that are almost alike would all be without colour.
        """
        level = token.level if self.level is None else self.level
        strength = 0.1 + 0.9 * self.strength(token) ** 0.5
        return {"--tint": self.colours.get(level, theme.NEUTRAL), "--strength": f"{100 * strength:.0f}%"}

    def number(self, token: TokenLevels) -> str:
        """Say in a number what the colour says: the level, or how many per cent of the token the level makes up."""
        return str(token.level) if self.level is None else f"{100 * self.strength(token):.0f}"


def row(marks: Marks, name: str, *, choosable: bool) -> Component:
    """Draw tokens in a row, words as a rule, and below each what its colour says as a number.

    Args:
        marks: the tokens.
        name: what one is called, which is also what of the address it is chosen by.
        choosable: are they chosen here?

    """
    cells = {
        place: html.Span(
            [html.Span(token.token, className="word"), html.Span(marks.number(token), className="number")],
            className="token",
            style=marks.tint(token),
            title=_told(token),
        )
        for place, token in enumerate(marks.tokens)
    }
    return _laid(name, cells, marks.chosen, "words", {}, choosable=choosable)


def patches(marks: Marks, grid: PatchGrid, picture: ImageArray | Missing, *, choosable: bool) -> list[Component]:
    """Lay patches over the picture, beside the picture as it is; tokens that lie nowhere in it are told below."""
    numbered = grid.rows * grid.columns <= NUMBERED
    cells = {
        place: html.Span(
            html.Span(marks.number(token), className="number") if numbered else "",
            className="patch",
            style=marks.tint(token),
            title=_told(token),
        )
        for place, token in enumerate(marks.tokens)
        if token.place is not None
    }
    style = {"--columns": str(grid.columns), "--rows": str(grid.rows)}
    original: list[Component] = []
    if not isinstance(picture, Missing):
        source = image_uri(picture)
        style["backgroundImage"] = f"url({source})"
        original = [html.Img(src=source, alt="The picture that is asked about", className="picture")]
    over = html.Div(_laid("patch", cells, marks.chosen, "patches", style, choosable=choosable), className="over")
    drawn: list[Component] = [html.Div([*original, over], className="pictures")]
    if isinstance(picture, Missing):
        drawn.insert(0, components.quiet_text(f"Without the picture: {picture.why}."))
    nowhere = [_told(token) for token in marks.tokens if token.place is None]
    if nowhere:
        drawn.append(components.quiet_text(f"Tokens that lie nowhere in the picture: {', '.join(nowhere)}."))
    return drawn


def key(marks: Marks) -> Component:
    """Say which colour stands for which level."""
    chips = [
        html.Li(
            [components.swatch(colour), f"level {level}"], className="" if marks.level in (None, level) else "faded"
        )
        for level, colour in marks.colours.items()
    ]
    told = "number: the strongest level; stronger colour: it leads the others further"
    if marks.level is not None:
        told = f"number: per cent from level {marks.level}; stronger colour: more of it"
    return html.Div([html.Ul(chips, className="key"), html.Span(told, className="quiet")], className="legend")


def bar(name: str, token: TokenLevels, colours: Mapping[int, str], *, here: bool) -> Component:
    """Draw what one token draws on as a bar."""
    total = sum(token.shares) or 1.0
    shares = {level: share / total for level, share in zip(colours, token.shares, strict=True)}
    told = ", ".join(f"level {level} {100 * share:.0f} %" for level, share in shares.items())
    segments = [
        html.Span(
            str(level) if share > WIDE else "",
            style={"width": f"{100 * share:.2f}%", "background": colours[level]},
            className="segment",
        )
        for level, share in shares.items()
    ]
    stack = html.Div(segments, className="stack", role="img", title=told, **components.aria_label(told))
    return html.Div([html.Span(name, className="depth"), stack], className="line here" if here else "line")


def _laid(
    name: str, cells: Mapping[int, Component], chosen: int, kind: str, style: dict[str, str], *, choosable: bool
) -> Component:
    """Lay tokens out: as buttons of which one is chosen, or only to be seen."""
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


def _told(token: TokenLevels) -> str:
    return f"{token.token}: level {token.level}"
