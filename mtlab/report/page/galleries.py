"""The figures of a study's page: which there are, and what can be chosen in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlab.report import gathered
from mtlab.report.figures import by_family, comparison, cost, curves, parts, theme
from mtlab.report.figures.layers import (
    aggregation,
    agreement,
    difference,
    evolution,
    heatmaps,
    replaced,
    similarity,
    specialisation,
    training_signals,
    worth,
)
from mtlab.report.page.gallery import KIND, Choice, Gallery
from mtlab.report.report import build

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mtlab.recording.reader import Layers, Trace, Worth
    from mtlab.report.figures.theme import Style
    from mtlab.report.gathered import Gathered, History
    from mtlab.report.report import Report
    from mtlab.runs.store import Store

KINDS = Choice(KIND, "", {"contributions": "contributions", "weights": "raw weights"})
MANY = 6  #: variants of which all pairs are set against each other; of more, each against its baseline alone


@dataclass(frozen=True)
class Material:
    """All that the figures of a study are made from."""

    plan: Mapping[str, Any]
    report: Report
    styles: Mapping[str, Style]
    layers: Gathered[Layers]
    traces: Gathered[Trace]
    worths: Gathered[Worth]
    histories: Gathered[History]

    @property
    def variants(self) -> list[str]:
        """The variants in the table's order."""
        return list(dict.fromkeys(row["label"] for row in self.plan["rows"]))


def gather(store: Store, plan: Mapping[str, Any]) -> Material:
    """Read all that the figures of a study are made from, however much of it has run.

    Raises:
        UserError: the plan names a test that does not exist, or a file of the store is damaged.

    """
    return Material(
        plan=plan,
        report=build(store, plan),
        styles=theme.styles_of(plan),
        layers=gathered.layers(store, plan),
        traces=gathered.traces(store, plan),
        worths=gathered.worths(store, plan),
        histories=gathered.histories(store, plan),
    )


def everything(made: Material) -> list[Gallery]:
    """Draw all figures, in the order of the page."""
    return [*results(made), *layers(made), *pairs(made), *training(made), *inside(made)]


def results(made: Material) -> list[Gallery]:
    """Draw what the table says."""
    costs = Choice("cost", "Cost", dict(cost.COSTS.items()))
    return [
        Gallery("comparison", "Estimates and differences", {(): comparison.comparison(made.report, made.styles)}),
        Gallery("by-family", "By family of questions", {(): by_family.by_family(made.report)}),
        _gallery("cost", "Cost against quality", [costs], lambda of: cost.cost(made.report, of, made.styles)),
    ]


def layers(made: Material) -> list[Gallery]:
    """Draw which layers the managers use, and whether that is real and worth something."""
    found, styles = made.layers.found, made.styles
    start = {source: trace.layers[0] for source, trace in made.traces.found.items() if trace.layers}
    since = Choice("since", "Pattern", {"end": "at the end", "change": "what training changed"})
    measures = Choice(
        "measure",
        "What",
        {"entropy": "how sharply", "specialisation": "how differently by token", "previous": "how much from below"},
    )
    drawn = {
        "entropy": specialisation.entropy,
        "specialisation": specialisation.specialisation,
        "previous": specialisation.previous,
    }
    return [
        _gallery(
            "aggregation",
            "Which layers the managers draw on",
            [KINDS],
            lambda kind: aggregation.aggregation(found, styles, kind),
        ),
        _gallery(
            "heatmaps",
            "The same as heatmaps",
            [_variants(parts.variants(found)), KINDS],
            lambda variant, kind: heatmaps.heatmaps(parts.of(found, variant), kind),
        ),
        Gallery("worth", "What levels are given, and what they are worth", {(): _worth(made)}),
        Gallery("replaced", "What it is worth to choose", {(): replaced.replaced(made.worths.found, styles)}),
        _gallery(
            "agreement",
            "Is the pattern real? Agreement between seeds",
            [since, KINDS],
            lambda which, kind: agreement.agreement(found, start if which == "change" else None, styles, kind),
        ),
        _gallery(
            "choosing",
            "How managers choose",
            [measures, KINDS],
            lambda measure, kind: drawn[measure](found, styles, kind),
        ),
    ]


def training(made: Material) -> list[Gallery]:
    """Draw how training went."""
    histories, traces = made.histories.found, made.traces.found
    logged = curves.metrics(histories)
    first = [name for name in (made.plan["metrics"]["choose"], "train/loss") if name in logged]
    metrics = Choice("metric", "Metric", {name: name for name in dict.fromkeys([*first, *logged])} or {"": ""})
    varied = _variants(parts.variants(traces))
    return [
        _gallery("curves", "Learning curves", [metrics], lambda of: curves.curves(histories, of, made.styles)),
        _gallery(
            "evolution",
            "How the use of layers evolved",
            [varied, KINDS],
            lambda variant, kind: evolution.evolution(traces, variant, kind),
        ),
        _gallery("gradients", "Gradients", [varied], lambda variant: training_signals.gradients(traces, variant)),
    ]


def inside(made: Material) -> list[Gallery]:
    """Draw what else was recorded of the finished models."""
    found = made.layers.found
    varied, measures = _variants(parts.variants(found)), Choice("measure", "Measure", dict(similarity.NAMES.items()))
    attentions = Choice("of", "Attention", {"cross": "to the other modality", "self": "to the own modality"})
    return [
        _gallery(
            "consecutive",
            "How alike consecutive layers' inputs are",
            [measures],
            lambda measure: similarity.consecutive(found, made.styles, measure),
        ),
        _gallery(
            "similarity",
            "All pairs of layers",
            [varied, measures],
            lambda variant, measure: similarity.similarity(found, variant, measure),
        ),
        _gallery(
            "attention",
            "How widely heads look",
            [varied, attentions],
            lambda variant, of: training_signals.attention(found, variant, of),
        ),
        Gallery("temperatures", "Temperatures", {(): training_signals.temperatures(found, made.styles)}),
    ]


def pairs(made: Material) -> list[Gallery]:
    """Draw how pairs of variants differ, and variants from themselves before training."""
    found, traces = made.layers.found, made.traces.found
    start = {source: trace.layers[0] for source, trace in traces.items() if trace.layers}
    sides: dict[str, tuple[str, str | None]] = {
        f"{first} less {second}": (first, second) for first, second in compared(made) if parts.of(found, first)
    }
    sides |= {f"{name}: what training changed": (name, None) for name in parts.variants(start)}

    def draw(pair: str, kind: Any) -> go.Figure:
        first, second = sides[pair]
        own = parts.of(found, first)
        other = parts.of(start, first) if second is None else parts.of(found, second)
        return difference.difference(own, other, (first, second or f"{first} before training"), kind)

    choice = Choice("pair", "Difference", {name: name for name in sides})
    return (
        [_gallery("difference", "Two variants, or before and after training", [choice, KINDS], draw)] if sides else []
    )


def compared(made: Material) -> list[tuple[str, str]]:
    """Choose the pairs of variants that are set against each other: each and its baseline; all pairs of a few."""
    labels = {row["cell"]: row["label"] for row in reversed(made.plan["rows"])}
    planned = [(row["label"], labels.get(row["compare_to"])) for row in made.plan["rows"]]
    chosen = [(first, second) for first, second in planned if second is not None]
    if len(made.variants) <= MANY:
        rest = [(second, first) for at, first in enumerate(made.variants) for second in made.variants[at + 1 :]]
        chosen += [pair for pair in rest if pair not in chosen and pair[::-1] not in chosen]
    return chosen


def _worth(made: Material) -> go.Figure:
    return worth.worth(made.layers.found, made.worths.found, made.styles)


def _variants(names: Iterable[str]) -> Choice:
    return Choice("variant", "Variant", {name: name for name in names} or {"": ""}, last=True)


def _gallery(name: str, title: str, choices: list[Choice], draw: Callable[..., go.Figure]) -> Gallery:
    """Draw a figure for every combination of the choices."""
    keys: list[tuple[str, ...]] = [()]
    for choice in choices:
        keys = [(*key, value) for key in keys for value in choice.options]
    return Gallery(name, title, {key: draw(*key) for key in keys}, tuple(choices))
