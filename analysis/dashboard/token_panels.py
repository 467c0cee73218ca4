"""One example in one run: its words and patches, what the chosen one draws on, and the key of the colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dash import dcc, html

from mtlab.analysis import asked, theme
from mtlab.analysis.dashboard import controls, parts
from mtlab.analysis.dashboard.data import RunCard
from mtlab.analysis.dashboard.page import Look
from mtlab.analysis.dashboard.parts import Part
from mtlab.analysis.figures.token_levels import TokenLevels, levels_of, token_levels
from mtlab.analysis.figures.words_and_patches import data_uri
from mtlab.analysis.recorded import Grid, Kind, Missing, Modality, Tokens, Told

STRONGEST = "strongest"
NAMES: dict[Modality, str] = {"text": "Words", "image": "Patches"}


@dataclass(frozen=True)
class Chosen:
    """What of an example is looked at."""

    place: int  #: of the example in the file
    example: str  #: its id
    depth: int  #: of the cross-modal layer, from 0
    kind: Kind
    shown: str  #: both, text or image
    level: int | None  #: that the colour tells of; None: whichever is strongest

    def at(self, place: int) -> Chosen:
        """Look at the same in a file where the example has another place."""
        return replace(self, place=place)


def draw(look: Look, run: RunCard, tokens: Tokens, chosen: Chosen, *, main: bool) -> Part:
    """Draw the panel of a run; words and patches are chosen in the main one."""
    modalities: list[Modality] = ["text", "image"] if chosen.shown == "both" else [_modality(chosen.shown)]
    content = [_side(look, run, tokens, chosen, modality, main=main) for modality in modalities]
    told = tokens.examples[chosen.place]
    heading = html.Div(
        [
            html.H2([parts.run_link(run.id, run.label), html.Span(f" seed {run.seed}", className="quiet")]),
            html.P(["predicts ", html.Span(f"{told.prediction} {mark(told)}", className=_judged(told))])
            if told.prediction is not None
            else None,
        ],
        className="heading",
    )
    return html.Section([heading, *content], className="panel", **parts.named(f"{run.label}, seed {run.seed}"))


def mark(told: Told) -> str:
    """Mark an example that is answered rightly or wrongly; neither where that is not known."""
    return {"right": "✓", "wrong": "✗"}.get(_judged(told), "")


def _judged(told: Told) -> str:
    if told.truth is None or told.prediction is None:
        return ""
    return "right" if told.truth == told.prediction else "wrong"


def _modality(name: str) -> Modality:
    return "text" if name == "text" else "image"


def _side(look: Look, run: RunCard, tokens: Tokens, chosen: Chosen, modality: Modality, *, main: bool) -> Part:
    found = token_levels(tokens, chosen.place, modality, chosen.depth, chosen.kind)
    name = NAMES[modality]
    if not found:
        return html.Section([html.H3(name), parts.empty(_silent(tokens, chosen, modality))], className="side")
    experts = tokens.experts(chosen.kind, modality, chosen.depth, chosen.place)
    levels = levels_of(tokens, modality, experts) if experts is not None else ()
    colours = dict(zip(levels, theme.level_colours(len(levels)), strict=True))
    tints = [_tint(each, levels, colours, chosen.level, _most(found, levels, chosen.level)) for each in found]
    at = _chosen_token(look, modality, found)
    grid = tokens.grid if modality == "image" and any(each.place for each in found) else None
    drawn = (
        _words(modality, found, tints, at, main=main)
        if grid is None
        else _patches(look, run, tokens, chosen, found, tints, at, grid, main=main)
    )
    return html.Section(
        [
            html.H3(name),
            _key(levels, colours, chosen.level),
            *drawn,
            _detail(tokens, chosen, modality, at, found[at].token, colours),
        ],
        className=f"side {modality}",
    )


def _silent(tokens: Tokens, chosen: Chosen, modality: Modality) -> str:
    """Say why nothing is known of the tokens."""
    others: dict[Kind, Kind] = {"contributions": "weights", "weights": "contributions"}
    if tokens.depths(chosen.kind, modality):
        return f"This manager has no {chosen.kind} of single tokens in cross-modal layer {chosen.depth + 1}."
    there = tokens.depths(others[chosen.kind], modality)
    hint = f" It has {others[chosen.kind]}: choose them above." if there else ""
    return (
        f"This manager has no {chosen.kind}: what it hands on is no sum of levels, each with a part of its own.{hint}"
    )


def _most(found: Sequence[TokenLevels], levels: Sequence[int], level: int | None) -> float:
    """Give the strength of the strongest token: what the full colour stands for."""
    return max((_strength(each, levels, level) for each in found), default=0.0) or 1.0


def _strength(each: TokenLevels, levels: Sequence[int], level: int | None) -> float:
    if level is None:
        return each.strength
    total = sum(each.shares)
    return each.shares[levels.index(level)] / total if level in levels and total else 0.0


def _tint(
    each: TokenLevels, levels: Sequence[int], colours: dict[int, str], level: int | None, most: float
) -> dict[str, str]:
    """Give the colour of a token and how strong it is, as the variables that the styles go by."""
    colour = colours[each.level] if level is None else colours.get(level, theme.NEUTRAL)
    strength = _strength(each, levels, level) / most
    return {"--tint": colour, "--strength": f"{100 * (0.12 + 0.78 * strength):.0f}%"}


def _chosen_token(look: Look, modality: Modality, found: Sequence[TokenLevels]) -> int:
    written = look.view.text(_sets(modality))
    place = int(written) - 1 if written.isdecimal() else 0
    return place if 0 <= place < len(found) else 0


def _sets(modality: Modality) -> str:
    return "word" if modality == "text" else "patch"


def _told(each: TokenLevels) -> str:
    return f"{each.token}: level {each.level}"


def _words(
    modality: Modality, found: Sequence[TokenLevels], tints: Sequence[dict[str, str]], at: int, *, main: bool
) -> list[Part]:
    """Draw words in a row, the number of the level below each."""
    cells = [
        html.Span(
            [html.Span(each.token, className="word"), html.Span(str(each.level), className="number")],
            className="token",
            style=tint,
            title=_told(each),
        )
        for each, tint in zip(found, tints, strict=True)
    ]
    if not main:
        marked = [
            html.Span(cell, className="beside chosen" if place == at else "beside") for place, cell in enumerate(cells)
        ]
        return [html.Div(marked, className="words")]
    return [_choices(modality, cells, at)]


def _choices(modality: Modality, cells: Sequence[Part], at: int) -> Part:
    buttons = dcc.RadioItems(
        options=[{"value": str(place + 1), "label": cell} for place, cell in enumerate(cells)],
        value=str(at + 1),
        id=controls.identity(_sets(modality), "1"),
        className="words",
    )
    name = "Choose a word" if modality == "text" else "Choose a patch"
    return html.Div(buttons, role="group", **parts.named(name))


def _patches(
    look: Look,
    run: RunCard,
    tokens: Tokens,
    chosen: Chosen,
    found: Sequence[TokenLevels],
    tints: Sequence[dict[str, str]],
    at: int,
    grid: Grid,
    *,
    main: bool,
) -> list[Part]:
    """Lay the patches over the picture, beside the picture as it is; tokens that lie nowhere in it stand below."""
    picture = asked.picture(look.data.world(run.id), tokens.examples[chosen.place].image)
    ground = "none" if isinstance(picture, Missing) else f"url({data_uri(picture)})"
    numbered = grid.rows * grid.columns <= 200
    laid = [place for place, each in enumerate(found) if each.place is not None]
    order = [*laid, *(place for place, each in enumerate(found) if each.place is None)]
    cells = {
        place: html.Span(
            html.Span(str(found[place].level), className="number") if numbered or found[place].place is None else "",
            className="patch" if found[place].place is not None else "token",
            style=tints[place],
            title=_told(found[place]),
        )
        for place in order
    }
    style = {"--columns": str(grid.columns), "--rows": str(grid.rows), "backgroundImage": ground}
    within = laid
    rest = [place for place in order if place not in set(within)]
    parts_of: list[Part] = []
    if main:
        overlay = dcc.RadioItems(
            options=[{"value": str(place + 1), "label": cells[place]} for place in within],
            value=str(at + 1) if at in within else None,
            id=controls.identity("patch", "1"),
            className="patches",
            style=style,
        )
        laid_over: Part = html.Div(overlay, className="over", role="group", **parts.named("Choose a patch"))
    else:
        marked = [html.Span(cells[place], className="beside chosen" if place == at else "beside") for place in within]
        laid_over = html.Div(html.Div(marked, className="patches", style=style), className="over")
    if isinstance(picture, Missing):
        parts_of.append(parts.hint(f"Without the picture: {picture.why}."))
        original: Part = None
    else:
        original = html.Img(src=data_uri(picture), alt="The picture that is asked about", className="picture")
    parts_of.append(html.Div([original, laid_over], className="pictures"))
    if rest:
        told = ", ".join(_told(found[place]) for place in rest)
        parts_of.append(parts.hint(f"Tokens that lie nowhere in the picture: {told}."))
    return parts_of


def _key(levels: Sequence[int], colours: dict[int, str], level: int | None) -> Part:
    """Say which colour stands for which level."""
    chips = [
        html.Li([parts.swatch(colours[each]), f"level {each}"], className="" if level in (None, each) else "faded")
        for each in levels
    ]
    told = (
        "stronger colour: the level leads further"
        if level is None
        else f"stronger colour: a larger part is level {level}"
    )
    return html.Div([html.Ul(chips, className="key"), html.Span(told, className="quiet")], className="legend")


def _detail(tokens: Tokens, chosen: Chosen, modality: Modality, at: int, name: str, colours: dict[int, str]) -> Part:
    """Show what one token draws on in every cross-modal layer, as bars."""
    lines = []
    for depth in tokens.depths(chosen.kind, modality):
        here = token_levels(tokens, chosen.place, modality, depth, chosen.kind)
        if at < len(here):
            lines.append(_bar(depth, here[at], list(colours.values()), list(colours), here=depth == chosen.depth))
    title = f"“{name}” in every layer" if modality == "text" else f"{name[:1].upper()}{name[1:]} in every layer"
    return html.Div([html.H4(title), html.Div(lines, className="bars")], className="detail")


def _bar(depth: int, each: TokenLevels, colours: Sequence[str], levels: Sequence[int], *, here: bool) -> Part:
    total = sum(each.shares) or 1.0
    shares = [share / total for share in each.shares]
    told = ", ".join(f"level {level} {100 * share:.0f} %" for level, share in zip(levels, shares, strict=True))
    segments = [
        html.Span(
            str(level) if share > 0.08 else "",
            style={"width": f"{100 * share:.2f}%", "background": colour},
            className="segment",
        )
        for level, share, colour in zip(levels, shares, colours, strict=True)
    ]
    return html.Div(
        [
            html.Span(f"layer {depth + 1}", className="depth"),
            html.Div(segments, className="stack", role="img", title=told, **parts.named(told)),
        ],
        className="line here" if here else "line",
    )
