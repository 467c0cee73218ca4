"""The figures of a study's page: which there are, and what can be chosen in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mtlab.report.figures import by_family, cost, curves, estimates, panels
from mtlab.report.figures.layers import (
    aggregation,
    agreement,
    difference,
    evolution,
    heatmaps,
    replaced_weights,
    similarity,
    specialisation,
    training_signals,
    worth,
)
from mtlab.report.page.figure_group import KIND, FigureChoice, FigureGroup

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mtlab.report.study import StudyResults

KINDS = FigureChoice(KIND, "", {"contributions": "contributions", "weights": "raw weights"})
MANY = 6  #: variants of which all pairs are set against each other; of more, each against its baseline alone


def all_figures(made: StudyResults) -> list[FigureGroup]:
    """Draw all figures, in the order of the page."""
    return [
        *result_figures(made),
        *layer_figures(made),
        *pair_figures(made),
        *training_figures(made),
        *model_figures(made),
    ]


def result_figures(made: StudyResults) -> list[FigureGroup]:
    """Draw what the table says."""
    costs = FigureChoice("cost", "Cost", dict(cost.COSTS.items()))
    return [
        FigureGroup(
            "comparison", "Estimates and differences", {(): estimates.plot_estimates(made.report, made.styles)}
        ),
        FigureGroup("by-family", "By family of questions", {(): by_family.plot_families(made.report)}),
        _gallery("cost", "Cost against quality", [costs], lambda of: cost.plot_cost(made.report, of, made.styles)),
    ]


def layer_figures(made: StudyResults) -> list[FigureGroup]:
    """Draw which layers the managers use, and whether that is real and worth something."""
    found, styles = made.layers.found, made.styles
    start = {source: trace.layers[0] for source, trace in made.traces.found.items() if trace.layers}
    since = FigureChoice("since", "Pattern", {"end": "at the end", "change": "what training changed"})
    measures = FigureChoice(
        "measure",
        "What",
        {"entropy": "how sharply", "specialisation": "how differently by token", "previous": "how much from below"},
    )
    drawn = {
        "entropy": specialisation.plot_entropy,
        "specialisation": specialisation.plot_specialisation,
        "previous": specialisation.plot_previous,
    }
    return [
        _gallery(
            "aggregation",
            "Which layers the managers draw on",
            [KINDS],
            lambda kind: aggregation.plot_aggregation(found, styles, kind),
        ),
        _gallery(
            "heatmaps",
            "The same as heatmaps",
            [_variants(panels.variant_labels(found)), KINDS],
            lambda variant, kind: heatmaps.plot_heatmaps(panels.runs_of(found, variant), kind),
        ),
        FigureGroup("worth", "What levels are given, and what they are worth", {(): _worth(made)}),
        FigureGroup(
            "replaced",
            "What it is worth to choose",
            {(): replaced_weights.plot_replaced_weights(made.worths.found, styles)},
        ),
        _gallery(
            "agreement",
            "Is the pattern real? Agreement between seeds",
            [since, KINDS],
            lambda which, kind: agreement.plot_agreement(found, start if which == "change" else None, styles, kind),
        ),
        _gallery(
            "choosing",
            "How managers choose",
            [measures, KINDS],
            lambda measure, kind: drawn[measure](found, styles, kind),
        ),
    ]


def training_figures(made: StudyResults) -> list[FigureGroup]:
    """Draw how training went."""
    histories, traces = made.histories.found, made.traces.found
    logged = curves.logged_metrics(histories)
    first = [name for name in (made.plan["metrics"]["choose"], "train/loss") if name in logged]
    metrics = FigureChoice("metric", "Metric", {name: name for name in dict.fromkeys([*first, *logged])} or {"": ""})
    varied = _variants(panels.variant_labels(traces))
    return [
        _gallery("curves", "Learning curves", [metrics], lambda of: curves.plot_curves(histories, of, made.styles)),
        _gallery(
            "evolution",
            "How the use of layers evolved",
            [varied, KINDS],
            lambda variant, kind: evolution.plot_evolution(traces, variant, kind),
        ),
        _gallery("gradients", "Gradients", [varied], lambda variant: training_signals.plot_gradients(traces, variant)),
    ]


def model_figures(made: StudyResults) -> list[FigureGroup]:
    """Draw what else was recorded of the finished models."""
    found = made.layers.found
    varied, measures = (
        _variants(panels.variant_labels(found)),
        FigureChoice("measure", "Measure", dict(similarity.NAMES.items())),
    )
    attentions = FigureChoice("of", "Attention", {"cross": "to the other modality", "self": "to the own modality"})
    return [
        _gallery(
            "consecutive",
            "How alike consecutive layers' inputs are",
            [measures],
            lambda measure: similarity.plot_consecutive(found, made.styles, measure),
        ),
        _gallery(
            "similarity",
            "All pairs of layers",
            [varied, measures],
            lambda variant, measure: similarity.plot_similarity(found, variant, measure),
        ),
        _gallery(
            "attention",
            "How widely heads look",
            [varied, attentions],
            lambda variant, of: training_signals.plot_attention(found, variant, of),
        ),
        FigureGroup("temperatures", "Temperatures", {(): training_signals.plot_temperatures(found, made.styles)}),
    ]


def pair_figures(made: StudyResults) -> list[FigureGroup]:
    """Draw how pairs of variants differ, and variants from themselves before training."""
    found, traces = made.layers.found, made.traces.found
    start = {source: trace.layers[0] for source, trace in traces.items() if trace.layers}
    sides: dict[str, tuple[str, str | None]] = {
        f"{first} less {second}": (first, second)
        for first, second in variant_pairs(made)
        if panels.runs_of(found, first)
    }
    sides |= {f"{name}: what training changed": (name, None) for name in panels.variant_labels(start)}

    def draw(pair: str, kind: Any) -> go.Figure:
        first, second = sides[pair]
        own = panels.runs_of(found, first)
        other = panels.runs_of(start, first) if second is None else panels.runs_of(found, second)
        return difference.plot_difference(own, other, (first, second or f"{first} before training"), kind)

    choice = FigureChoice("pair", "Difference", {name: name for name in sides})
    return (
        [_gallery("difference", "Two variants, or before and after training", [choice, KINDS], draw)] if sides else []
    )


def variant_pairs(made: StudyResults) -> list[tuple[str, str]]:
    """Choose the pairs of variants that are set against each other: each and its baseline; all pairs of a few."""
    labels = {row["cell"]: row["label"] for row in reversed(made.plan["rows"])}
    planned = [(row["label"], labels.get(row["compare_to"])) for row in made.plan["rows"]]
    chosen = [(first, second) for first, second in planned if second is not None]
    if len(made.variants) <= MANY:
        rest = [(second, first) for at, first in enumerate(made.variants) for second in made.variants[at + 1 :]]
        chosen += [pair for pair in rest if pair not in chosen and pair[::-1] not in chosen]
    return chosen


def _worth(made: StudyResults) -> go.Figure:
    return worth.plot_worth(made.layers.found, made.worths.found, made.styles)


def _variants(names: Iterable[str]) -> FigureChoice:
    return FigureChoice("variant", "Variant", {name: name for name in names} or {"": ""}, last=True)


def _gallery(name: str, title: str, choices: list[FigureChoice], draw: Callable[..., go.Figure]) -> FigureGroup:
    """Draw a figure for every combination of the choices."""
    keys: list[tuple[str, ...]] = [()]
    for choice in choices:
        keys = [(*key, value) for key in keys for value in choice.options]
    return FigureGroup(name, title, {key: draw(*key) for key in keys}, tuple(choices))
