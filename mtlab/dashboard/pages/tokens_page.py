"""The token explorer: the words and patches of one example, coloured by the level that they draw on.

Selecting a word or patch, by mouse or arrow keys, shows its levels in every cross-modal layer. Two runs can be shown
side by side on the same example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.address import page_href
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import Page, PageRequest
from mtlab.dashboard.pages import token_panels
from mtlab.dashboard.pages.token_panels import STRONGEST, TokenChoice
from mtlab.dashboard.summaries import RunSummary
from mtlab.recording import reader
from mtlab.recording.reader import LAYERS, TOKENS, Kind, Layers, Missing, Modality, RecordedExample, Tokens
from mtlab.report import recordings
from mtlab.report.figures import panels

SHOWN = {"both": "words and patches", "text": "words", "image": "patches"}
SIDES: Mapping[str, tuple[Modality, ...]] = {"both": ("text", "image"), "text": ("text",), "image": ("image",)}


def draw_tokens_page(request: PageRequest) -> Page:
    """Draw the token explorer.

    Raises:
        UserError: no such run.

    """
    runs = _runs(request)
    wanted = request.address.text("run")
    if not wanted and not runs:
        return _page(request, None, _studies(request), [_nothing(request)])
    run = request.data.run(wanted) if wanted else _default_run(request, runs)
    tokens = _tokens(request, run.id)
    bar = [
        *_studies(request),
        controls.dropdown("run", "run", _names({**runs, run.id: run}), run.id, default="", wide=True),
    ]
    if isinstance(tokens, Tokens) and not tokens.examples:
        tokens = Missing("no example is in its file")
    if isinstance(tokens, Missing):
        return _page(request, run, bar, [_without(run, tokens)])
    other = _other(request, run, runs)
    chosen, more = _controls(request, run, tokens, runs, other)
    panels = [token_panels.draw_panel(request, run, tokens, chosen, main=True)]
    if other is not None:
        panels.append(_beside(request, other, tokens.examples[chosen.place], chosen))
    body = [
        _example(tokens.examples[chosen.place]),
        html.Div(panels, className="panels two" if other is not None else "panels"),
    ]
    return _page(request, run, [*bar, *more], body)


def _page(request: PageRequest, run: RunSummary | None, bar: Sequence[Component], body: Sequence[Component]) -> Page:
    return Page("Token explorer", _head(run, request.kind), (html.Div(list(bar), className="filters"),), body)


def tokens_page_state(request: PageRequest) -> object:
    """Return what the page depends on: its runs, as the recordings of finished runs never change."""
    return [(run.id, run.condition) for run in _runs(request).values()]


def _runs(request: PageRequest) -> dict[str, RunSummary]:
    """Return the finished runs that recorded single tokens, of the chosen study or of all."""
    study = request.address.text("study")
    studies = [each for each in request.data.studies() if study in ("", each.name)]
    found = {run.id: run for each in studies for run in each.runs if run.condition == "done"}
    return {name: run for name, run in found.items() if (request.data.store.run(name) / TOKENS).is_file()}


def _studies(request: PageRequest) -> list[Component]:
    """Make the menu of studies, where there are several."""
    names = request.data.store.study_names()
    options = {"": "all studies", **{name: name for name in names}}
    study = request.address.one("study", names, "")
    return [controls.dropdown("study", "study", options, study)] if len(names) > 1 else []


def _tokens(request: PageRequest, run: str) -> Tokens | Missing:
    return request.data.finished(run, TOKENS, reader.read_tokens)


def _default_run(request: PageRequest, runs: Mapping[str, RunSummary]) -> RunSummary:
    """Return the run whose weights of levels vary most from token to token, see `most_telling`."""
    read = {name: request.data.finished(name, LAYERS, reader.read_layers) for name in runs}
    telling = recordings.most_telling({name: layers for name, layers in read.items() if isinstance(layers, Layers)})
    return next(iter(runs.values())) if telling is None else runs[telling]


def _names(runs: Mapping[str, RunSummary]) -> dict[str, str]:
    return {name: run.title for name, run in runs.items()}


def _head(run: RunSummary | None, kind: Kind) -> Component:
    message = (
        "Which level of its tower each word and each patch draws on, and how much comes from the previous state. It "
        "opens on the run whose weights vary most from token to token."
    )
    message = f"{message} {panels.explain_kind(kind)}"
    title = [html.H1("Token explorer"), html.P(message, className="why")]
    if run is None:
        return title
    return [
        *title,
        html.P([components.run_link(run.id, f"The run: {run.title}")], className="summary"),
    ]


def _nothing(request: PageRequest) -> Component:
    study = request.address.text("study")
    where = f"study {study!r}" if study else "store"
    return components.empty_notice(
        f"No finished run of this {where} has recorded single tokens.",
        html.P("A run records them when it finishes, for 32 validation examples (`record.tokens`, on by default):"),
        request.command_line("run", "quickstart"),
    )


def _without(run: RunSummary, why: Missing) -> Component:
    return components.empty_notice(f"There is nothing to see of {run.title}: {why.why}.")


def _other(request: PageRequest, run: RunSummary, runs: Mapping[str, RunSummary]) -> RunSummary | None:
    name = request.address.text("other")
    return runs[name] if name in runs and name != run.id else None


def _controls(
    request: PageRequest, run: RunSummary, tokens: Tokens, runs: Mapping[str, RunSummary], other: RunSummary | None
) -> tuple[TokenChoice, list[Component]]:
    """Read the choices from the address, and make their controls."""
    address, kind = request.address, request.kind
    examples = {each.id: _title(each) for each in tokens.examples}
    example = address.one("example", examples, tokens.examples[0].id)
    first = tokens.first_layer
    depths = {str(depth + first): str(depth + first) for depth in _depths(tokens, kind)}
    last = next(reversed(depths), str(first))
    depth = address.one("layer", depths, last)
    shown = address.one("modality", SHOWN, "both")
    levels = sorted({level for offered in tokens.levels.values() for level in offered})
    colour = address.one("colour", map(str, levels), STRONGEST)
    chosen = TokenChoice(
        place=tokens.find(example) or 0,
        example=example,
        depth=int(depth) - first,
        kind=kind,
        modalities=SIDES[shown],
        level=None if colour == STRONGEST else int(colour),
    )
    rest = {name: title for name, title in _names(runs).items() if name != run.id}
    compared = {"": "no other run", **rest}
    made = [
        controls.dropdown("other", "beside it", compared, "" if other is None else other.id, wide=True),
        controls.dropdown("example", "example", examples, example, wide=True),
        controls.radio_buttons("layer", "cross-modal layer" if first else "layer", depths, depth, default=last),
        controls.radio_buttons("modality", "modality", SHOWN, shown),
        request.kind_switch(),
        controls.radio_buttons("colour", "colour", _colours(levels), colour),
    ]
    return chosen, made


def _colours(levels: Sequence[int]) -> dict[str, str]:
    return {STRONGEST: "strongest level", **{str(level): f"level {level}" for level in levels}}


def _depths(tokens: Tokens, kind: Kind) -> list[int]:
    """Return the cross-modal layers with recorded tokens, of the other kind where this one has none."""
    kinds: tuple[Kind, ...] = (kind, "contributions", "weights")
    for each in kinds:
        found = {depth for modality in reader.MODALITIES for depth in tokens.depths(each, modality)}
        if found:
            return sorted(found)
    return [0]


def _title(example: RecordedExample) -> str:
    return f"{token_panels.correctness_mark(example)} {example.text}".strip()


def _example(example: RecordedExample) -> Component:
    known = [("right answer", example.truth), ("family", example.family), ("example", html.Code(example.id))]
    return html.Div(
        [html.P(f"“{example.text}”", className="asked"), components.definition_list(known)], className="example"
    )


def _asked(example: RecordedExample) -> tuple[str, str, str | None]:
    return example.text, example.image, example.truth


def _beside(request: PageRequest, run: RunSummary, example: RecordedExample, chosen: TokenChoice) -> Component:
    """Draw the panel of another run on the same example; ids of one data set may be ids of another, too."""
    tokens = _tokens(request, run.id)
    if isinstance(tokens, Missing):
        return _without(run, tokens)
    place = tokens.find(chosen.example)
    if place is None or _asked(tokens.examples[place]) != _asked(example):
        href = page_href("tokens", run=run.id)
        message = f"{run.title} recorded other examples: {chosen.example} is not among them."
        return components.empty_notice(message, dcc.Link("See its own examples", href=href))
    return token_panels.draw_panel(request, run, tokens, chosen.at(place), main=False)
