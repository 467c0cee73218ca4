"""The token explorer: the words and the patches of one example, coloured by the level that they draw on.

Words and patches are choices of the page: whoever chooses one, by mouse or arrow keys, sees what it draws on in every
cross-modal layer. Two runs may stand side by side, on the same example.
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
from mtlab.dashboard.pane import KINDS, chosen_kind
from mtlab.dashboard.summaries import RunSummary
from mtlab.recording import reader
from mtlab.recording.reader import TOKENS, Kind, Missing, Modality, RecordedExample, Tokens

SHOWN = {"both": "words and patches", "text": "words", "image": "patches"}
SIDES: Mapping[str, tuple[Modality, ...]] = {"both": ("text", "image"), "text": ("text",), "image": ("image",)}


def draw_tokens_page(look: PageRequest) -> Page:
    """Draw the page.

    Raises:
        UserError: the run that was asked for is not there.

    """
    runs = _runs(look)
    asked = look.view.text("run")
    if not asked and not runs:
        return _page(None, _studies(look), [_nothing(look)])
    run = look.data.run(asked) if asked else _telling(look, runs)
    tokens = look.data.tokens(run.id)
    bar = [
        *_studies(look),
        controls.dropdown("run", "run", _names({**runs, run.id: run}), run.id, default="", wide=True),
    ]
    if isinstance(tokens, Tokens) and not tokens.examples:
        tokens = Missing("no example is in its file")
    if isinstance(tokens, Missing):
        return _page(run, bar, [_without(run, tokens)])
    other = _other(look, run, runs)
    chosen, more = _controls(look, run, tokens, runs, other)
    panels = [token_panels.draw_panel(look, run, tokens, chosen, main=True)]
    if other is not None:
        panels.append(_beside(look, other, chosen))
    body = [
        _example(tokens.examples[chosen.place]),
        html.Div(panels, className="panels two" if other is not None else "panels"),
    ]
    return _page(run, [*bar, *more], body)


def _page(run: RunSummary | None, bar: Sequence[Component], body: Sequence[Component]) -> Page:
    return Page("Token explorer", _head(run), (html.Div(list(bar), className="filters"),), body)


def tokens_page_state(look: PageRequest) -> object:
    """Give what changes when the page would: tokens are those of finished runs, which stay as they are."""
    return [(run.id, run.condition) for run in _runs(look).values()]


def _runs(look: PageRequest) -> dict[str, RunSummary]:
    """Give the finished runs that recorded single tokens: those of the study that was asked for, else all."""
    study = look.view.text("study")
    cards = [card for card in look.data.studies() if study in ("", card.name)]
    found = {run.id: run for card in cards for run in card.runs if run.condition == "done"}
    return {name: run for name, run in found.items() if (look.data.store.run(name) / TOKENS).is_file()}


def _studies(look: PageRequest) -> list[Component]:
    """Choose a study, where there are several."""
    names = look.data.store.study_names()
    options = {"": "all studies", **{name: name for name in names}}
    study = look.view.one("study", names, "")
    return [controls.dropdown("study", "study", options, study)] if len(names) > 1 else []


def _telling(look: PageRequest, runs: Mapping[str, RunSummary]) -> RunSummary:
    """Choose a run to begin with: the first that has something to tell, as not every manager's output is a sum."""
    for name, run in runs.items():
        tokens = look.data.tokens(name)
        if isinstance(tokens, Tokens) and any(tokens.depths("contributions", each) for each in reader.MODALITIES):
            return run
    return next(iter(runs.values()))


def _names(runs: Mapping[str, RunSummary]) -> dict[str, str]:
    return {name: f"{run.label}, seed {run.seed}" for name, run in runs.items()}


def _head(run: RunSummary | None) -> Component:
    told = "Which level of its tower each word and each patch draws on, where, and how strongly."
    title = [html.H1("Token explorer"), html.P(told, className="why")]
    if run is None:
        return title
    return [
        *title,
        html.P([components.run_link(run.id, f"The run: {run.label}, seed {run.seed}")], className="summary"),
    ]


def _nothing(look: PageRequest) -> Component:
    study = look.view.text("study")
    where = f"study {study!r}" if study else "store"
    return components.empty_notice(
        f"No finished run of this {where} has recorded single tokens.",
        html.P("A run records them when it finishes, for 32 validation examples (`record.tokens`, on by default):"),
        components.command_line("mtlab run quickstart"),
    )


def _without(run: RunSummary, why: Missing) -> Component:
    return components.empty_notice(f"There is nothing to see of {run.label}, seed {run.seed}: {why.why}.")


def _other(look: PageRequest, run: RunSummary, runs: Mapping[str, RunSummary]) -> RunSummary | None:
    name = look.view.text("other")
    return runs[name] if name in runs and name != run.id else None


def _controls(
    look: PageRequest, run: RunSummary, tokens: Tokens, runs: Mapping[str, RunSummary], other: RunSummary | None
) -> tuple[TokenChoice, list[Component]]:
    """Read what is chosen, and make what chooses."""
    view, kind = look.view, chosen_kind(look.view)
    examples = {told.id: _title(told) for told in tokens.examples}
    example = view.one("example", examples, tokens.examples[0].id)
    depths = {str(depth + 1): str(depth + 1) for depth in _depths(tokens, kind)}
    last = next(reversed(depths), "1")
    depth = view.one("layer", depths, last)
    shown = view.one("modality", SHOWN, "both")
    levels = sorted({level for offered in tokens.levels.values() for level in offered})
    colour = view.one("colour", map(str, levels), STRONGEST)
    chosen = TokenChoice(
        place=tokens.find(example) or 0,
        example=example,
        depth=int(depth) - 1,
        kind=kind,
        modalities=SIDES[shown],
        level=None if colour == STRONGEST else int(colour),
    )
    rest = {name: title for name, title in _names(runs).items() if name != run.id}
    compared = {"": "no other run", **rest}
    made = [
        controls.dropdown("other", "beside it", compared, "" if other is None else other.id, wide=True),
        controls.dropdown("example", "example", examples, example, wide=True),
        controls.radio_buttons("layer", "cross-modal layer", depths, depth, default=last),
        controls.radio_buttons("modality", "modality", SHOWN, shown),
        controls.radio_buttons("kind", "shown", KINDS, kind),
        controls.radio_buttons("colour", "colour", _colours(levels), colour),
    ]
    return chosen, made


def _colours(levels: Sequence[int]) -> dict[str, str]:
    return {STRONGEST: "strongest level", **{str(level): f"level {level}" for level in levels}}


def _depths(tokens: Tokens, kind: Kind) -> list[int]:
    """Tell the cross-modal layers of which tokens are there, of either kind where this one has none."""
    kinds: tuple[Kind, ...] = (kind, "contributions", "weights")
    for each in kinds:
        found = {depth for modality in reader.MODALITIES for depth in tokens.depths(each, modality)}
        if found:
            return sorted(found)
    return [0]


def _title(told: RecordedExample) -> str:
    return f"{token_panels.mark(told)} {told.text}".strip()


def _example(told: RecordedExample) -> Component:
    known = [("right answer", told.truth), ("family", told.family), ("example", html.Code(told.id))]
    return html.Div(
        [html.P(f"“{told.text}”", className="asked"), components.definition_list(known)], className="example"
    )


def _beside(look: PageRequest, run: RunSummary, chosen: TokenChoice) -> Component:
    """Draw the same example of another run."""
    tokens = look.data.tokens(run.id)
    if isinstance(tokens, Missing):
        return _without(run, tokens)
    place = tokens.find(chosen.example)
    if place is None:
        href = page_href("tokens", run=run.id)
        told = f"{run.label}, seed {run.seed} recorded other examples: {chosen.example} is not among them."
        return components.empty_notice(told, dcc.Link("See its own examples", href=href))
    return token_panels.draw_panel(look, run, tokens, chosen.at(place), main=False)
