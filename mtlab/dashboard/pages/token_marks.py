"""Words in a row and patches over their image, each in the colour of the level that it draws on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.components import Component
from mtlab.recording.reader import Missing, PatchGrid
from mtlab.recording.run_dataset import ImageArray
from mtlab.recording.token_levels import PREVIOUS, TokenLevels
from mtlab.report.figures import theme
from mtlab.report.page.token_page import image_uri

MAX_NUMBERED = 200  #: patches; with more, their numbers would be too small to read
MIN_SHARE = 0.08  #: share of a bar that has room for its number


@dataclass(frozen=True)
class TokenMarks:
    """The tokens of one example at one cross-modal layer, and how they are coloured."""

    tokens: Sequence[TokenLevels]
    chosen: int  #: index of the selected token
    level: int | None  #: that colours show; None: the strongest of each token

    @property
    def levels(self) -> tuple[int, ...]:
        """The offered levels, lowest first."""
        return self.tokens[0].levels

    @property
    def colours(self) -> dict[int, str]:
        """Level → its colour."""
        return dict(zip(self.levels, theme.level_colours(len(self.levels)), strict=True))

    def strength(self, token: TokenLevels) -> float:
        """Return how far the strongest level leads, or the share of the shown level; 0 to 1."""
        if self.level is None:
            return token.strength
        return min(1.0, abs(token.parts.get(f"level {self.level}", 0.0)))

    def tint(self, token: TokenLevels) -> dict[str, str]:
        """Return the CSS variables of a token's colour, on one scale for all runs.

        The square root lifts small strengths: otherwise levels that are almost alike would have no colour.
        """
        level = token.level if self.level is None else self.level
        strength = 0.1 + 0.9 * self.strength(token) ** 0.5
        tint = theme.NEUTRAL if level is None else self.colours.get(level, theme.NEUTRAL)
        return {"--tint": tint, "--strength": f"{100 * strength:.0f}%"}

    def css_class(self, token: TokenLevels, name: str) -> str:
        """Return the class of a token; one that draws on no level is hatched."""
        return f"{name} previous" if self.level is None and token.level is None else name

    def number(self, token: TokenLevels) -> str:
        """Return the level, or the share of the shown level in per cent."""
        if self.level is None:
            return "–" if token.level is None else str(token.level)
        share = token.parts.get(f"level {self.level}")
        return "–" if share is None else f"{100 * share:.0f}"


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
            className=marks.css_class(token, "token"),
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
            className=marks.css_class(token, "patch"),
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
    if any(token.previous is not None for token in marks.tokens):
        chips.append(html.Li([html.Span(className="swatch previous"), "previous state"]))
    text = "number: the strongest level; stronger colour: it leads the other levels further"
    if marks.level is not None:
        text = f"number: per cent from level {marks.level}; stronger colour: more of it"
    return html.Div([html.Ul(chips, className="key"), html.Span(text, className="quiet")], className="legend")


def bar(name: str, token: TokenLevels, colours: Mapping[int, str], *, here: bool) -> Component:
    """Draw the shares of one token's levels and of the previous state as a bar, each as long as its size."""
    total = sum(map(abs, token.parts.values())) or 1.0
    text = ", ".join(f"{name} {share:.2f}" for name, share in token.parts.items())
    segments = []
    for name_of, share in token.parts.items():
        level = None if name_of == PREVIOUS else int(name_of.removeprefix("level "))
        size = abs(share) / total
        number = "prev." if level is None else f"{'−' if share < 0 else ''}{level}"
        style = {"width": f"{100 * size:.2f}%"} | ({} if level is None else {"background": colours[level]})
        kind = "segment previous" if level is None else "segment"
        segments.append(html.Span(number if size > MIN_SHARE else "", style=style, className=kind))
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
    parts = ", ".join(f"{name} {share:.2f}" for name, share in token.parts.items())
    return f"{token.token}: {parts}"
