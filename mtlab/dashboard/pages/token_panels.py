"""The panel of one example in one run: words, patches, and the levels of the selected token in every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dash import html

from mtlab.dashboard import components
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import PageRequest
from mtlab.dashboard.pages import token_marks
from mtlab.dashboard.pages.token_marks import TokenMarks
from mtlab.dashboard.summaries import RunSummary
from mtlab.recording import run_dataset
from mtlab.recording.reader import Kind, Modality, RecordedExample, Tokens
from mtlab.recording.token_levels import TokenLevels, token_levels
from mtlab.report.figures import panels

STRONGEST = "strongest"
NAMES: dict[Modality, str] = {"text": "Words", "image": "Patches"}
SETS: dict[Modality, str] = {"text": "word", "image": "patch"}  #: what of the address says which is chosen
OTHERS: dict[Kind, Kind] = {"contributions": "weights", "weights": "contributions"}


@dataclass(frozen=True)
class TokenChoice:
    """The choices of the page that concern an example."""

    place: int  #: index of the example in the file
    example: str  #: its id
    depth: int  #: of the cross-modal layer, from 0
    kind: Kind
    modalities: tuple[Modality, ...]
    level: int | None  #: that colours show; None: the strongest of each token

    def at(self, place: int) -> TokenChoice:
        """Make the same choices in a file where the example has another index."""
        return replace(self, place=place)


def draw_panel(request: PageRequest, run: RunSummary, tokens: Tokens, chosen: TokenChoice, *, main: bool) -> Component:
    """Draw the panel of a run; tokens are selected in the main one."""
    example = tokens.examples[chosen.place]
    title = html.H2([components.run_link(run.id, run.label), html.Span(f" seed {run.seed}", className="quiet")])
    answer = html.P(
        ["predicts ", html.Span(f"{example.prediction} {correctness_mark(example)}", className=_correctness(example))]
    )
    heading = html.Div([title, answer if example.prediction is not None else None], className="heading")
    sides = [_side(request, run, tokens, chosen, modality, main=main) for modality in chosen.modalities]
    return html.Section([heading, *sides], className="panel", **components.aria_label(run.title))


def correctness_mark(example: RecordedExample) -> str:
    """Mark a right or wrong answer; empty where it is not known."""
    return {"right": "✓", "wrong": "✗"}.get(_correctness(example), "")


def _correctness(example: RecordedExample) -> str:
    if example.truth is None or example.prediction is None:
        return ""
    return "right" if example.truth == example.prediction else "wrong"


def _side(
    request: PageRequest, run: RunSummary, tokens: Tokens, chosen: TokenChoice, modality: Modality, *, main: bool
) -> Component:
    """Draw the words or the patches, and the selected one in detail."""
    title = html.H3(NAMES[modality])
    found = token_levels(tokens, chosen.place, modality, chosen.depth, chosen.kind)
    if not found:
        return html.Section(
            [title, components.empty_notice(_explain_nothing(tokens, chosen, modality))], className="side"
        )
    at = _selected_token(request, modality, found)
    marks = TokenMarks(found, at, chosen.level)
    shown: list[Component] = [token_marks.row(marks, SETS[modality], choosable=main)]
    if modality == "image" and tokens.grid is not None and any(each.place for each in found):
        image = run_dataset.load_image(request.data.dataset(run.id), tokens.examples[chosen.place].image)
        shown = token_marks.patches(marks, tokens.grid, image, choosable=main)
    detail = _detail(tokens, chosen, modality, at, marks)
    return html.Section([title, token_marks.legend(marks), *shown, detail], className="side")


def _selected_token(request: PageRequest, modality: Modality, found: Sequence[TokenLevels]) -> int:
    """Return the index of the selected token; the address counts from 1."""
    written = request.address.text(SETS[modality])
    place = int(written) - 1 if written.isdecimal() else 0
    return place if 0 <= place < len(found) else 0


def _explain_nothing(tokens: Tokens, chosen: TokenChoice, modality: Modality) -> str:
    """Say why nothing is recorded of the tokens."""
    other = OTHERS[chosen.kind]
    hint = f" It has {other}: choose them above." if tokens.depths(other, modality) else ""
    return f"No {chosen.kind} of single tokens were recorded for layer {chosen.depth + tokens.first_layer}.{hint}"


def _detail(tokens: Tokens, chosen: TokenChoice, modality: Modality, at: int, marks: TokenMarks) -> Component:
    """Draw the levels of one token in every cross-modal layer as bars."""
    lines = []
    for depth in tokens.depths(chosen.kind, modality):
        here = token_levels(tokens, chosen.place, modality, depth, chosen.kind)
        if at < len(here):
            lines.append(
                token_marks.bar(
                    f"layer {depth + tokens.first_layer}", here[at], marks.colours, here=depth == chosen.depth
                )
            )
    name = marks.tokens[at].token
    name = f"“{name}”" if modality == "text" else f"{name[:1].upper()}{name[1:]}"
    removed = chosen.kind == "contributions" and tokens.by_removal(modality, chosen.depth)
    note = html.Span(panels.REMOVAL, className="quiet") if removed else None
    return html.Div([html.H4(f"{name} in every layer"), html.Div(lines, className="bars"), note], className="detail")
