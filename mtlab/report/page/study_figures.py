"""The figures of a study's page, and the choices of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.report import recordings
from mtlab.report.figures import cost, curves, estimates, panels, speed
from mtlab.report.figures.layers import (
    aggregation,
    agreement,
    by_family,
    difference,
    evolution,
    replaced_weights,
    similarity,
    specialisation,
    training_signals,
    worth,
)
from mtlab.report.figures.ranking import plot_ranking
from mtlab.report.page.figure_group import KIND, FigureChoice, FigureGroup, FiguresOnDemand
from mtlab.runs.find_run import labels_by_cell

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mtlab.report.study import StudyResults

KINDS = FigureChoice(KIND, "", panels.KIND_MENU)
RANKED = 3, 32  #: variants, at least and at most, that are ranked on the page
MAX_PAIRED = 6  #: variants of which all pairs are compared; of more, each is compared with its baseline alone


def all_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot all figures, in the order of the page."""
    return [
        *result_figures(study),
        *layer_figures(study),
        *pair_figures(study),
        *training_figures(study),
        *model_figures(study),
    ]


def result_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot the results of the table."""
    costs = FigureChoice("cost", "Cost", dict(cost.COSTS.items()))
    return [
        _group(
            "comparison",
            "Estimates and differences",
            [],
            lambda: estimates.plot_estimates(study.report, study.styles),
        ),
        _group("by-family", "By family of questions", [], lambda: estimates.plot_families(study.report)),
        _group("cost", "Cost against quality", [costs], lambda of: cost.plot_cost(study.report, of, study.styles)),
        *ranking_figures(study),
    ]


def ranking_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot the ranking of some variants, where the study can be ranked; all pairs of many would take too long."""
    if not RANKED[0] <= len(study.variants) <= RANKED[1]:
        return []
    try:
        ranking = study.ranking
    except UserError:
        return []
    return [
        _group("ranking", "Ranking: which variants were told apart", [], lambda: plot_ranking(ranking, study.styles))
    ]


def layer_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot which layers the managers use, whether seeds agree on it, and what it is worth."""
    found, styles = study.layers.found, study.styles
    start, end = recordings.before_and_after(study.traces.found)
    since = FigureChoice("since", "Pattern", {"end": "at the end", "change": "what training changed"})
    measures = FigureChoice(
        "measure",
        "What",
        {"entropy": "how sharply", "specialisation": "how differently by token", "previous": "how much from below"},
    )
    plots = {
        "entropy": specialisation.plot_entropy,
        "specialisation": specialisation.plot_specialisation,
        "previous": specialisation.plot_previous,
    }
    return [
        _group(
            "aggregation",
            "Which layers the managers draw on",
            [KINDS],
            lambda kind: aggregation.plot_aggregation(found, styles, kind),
        ),
        _group(
            "heatmaps",
            "In numbers, variant by variant",
            [_variants(study, panels.variant_labels(found)), KINDS],
            lambda variant, kind: aggregation.plot_heatmaps(panels.runs_of(found, variant), kind),
        ),
        _group(
            "worth",
            "What levels are given, and what they are worth",
            [],
            lambda: worth.plot_worth(found, study.worths.found, styles),
        ),
        _group(
            "replaced",
            "What it is worth to choose",
            [],
            lambda: replaced_weights.plot_replaced_weights(study.worths.found, styles),
        ),
        _group(
            "agreement",
            "Is the pattern real? Agreement between seeds",
            [since, KINDS],
            lambda which, kind: (
                agreement.plot_agreement(end, start, styles, kind)
                if which == "change"
                else agreement.plot_agreement(found, None, styles, kind)
            ),
        ),
        _group(
            "choosing",
            "How managers choose",
            [measures, KINDS],
            lambda measure, kind: plots[measure](found, styles, kind),
        ),
        *family_figures(study),
    ]


def family_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot which levels the families of questions draw on and rely on, where several families were recorded."""
    found, worths = study.tokens.found, study.worths.found
    groups = []
    if len(by_family.families(found)) > 1:
        groups.append(
            _group(
                "levels-by-family",
                "Which levels the families of questions draw on",
                [_variants(study, panels.variant_labels(found)), KINDS],
                lambda variant, kind: by_family.plot_levels_by_family(found, variant, kind),
            )
        )
    if worth.families(worths.values()):
        groups.append(
            _group(
                "worth-by-family",
                "Which levels the families of questions rely on",
                [_variants(study, panels.variant_labels(worths))],
                lambda variant: worth.plot_worth_by_family(worths, variant),
            )
        )
    return groups


def training_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot curves, gradients and the use of layers over training."""
    histories, traces = study.histories.found, study.traces.found
    logged = curves.metric_choices(curves.logged_metrics(histories), study.plan["metrics"]["choose"])
    metrics = FigureChoice("metric", "Metric", {name: name for name in logged} or {"": ""})
    lines = FigureChoice("lines", "Lines", {"": "mean and range", "seeds": "each seed"}, view=True)
    smoothing = FigureChoice("smoothing", "Smoothing", {"": "none", "smooth": "moving average"}, view=True)
    steps = FigureChoice(
        "steps", "Steps", {"linear": "linear", "log": "logarithmic"}, view=True, layouts=curves.STEP_AXES
    )
    variants = _variants(study, panels.variant_labels(traces))
    return [
        _group("speed", "Learning speed", [], lambda: speed.plot_speed(study.report, study.styles)),
        _group(
            "curves",
            "Learning curves",
            [metrics, lines, smoothing, steps],
            lambda of, lines, smoothing: curves.plot_curves(
                histories, of, study.styles, seeds=bool(lines), smooth=bool(smoothing)
            ),
        ),
        _group(
            "evolution",
            "How the use of layers evolved",
            [variants, KINDS],
            lambda variant, kind: evolution.plot_evolution(traces, variant, kind),
        ),
        _group("gradients", "Gradients", [variants], lambda variant: training_signals.plot_gradients(traces, variant)),
    ]


def model_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot similarity of layers, attention and temperatures of the finished models."""
    found = study.layers.found
    variants, measures = (
        _variants(study, panels.variant_labels(found)),
        FigureChoice("measure", "Measure", dict(similarity.MEASURE_NAMES.items())),
    )
    attentions = FigureChoice("of", "Attention", {"cross": "to the other modality", "self": "to the own modality"})
    return [
        _group(
            "consecutive",
            "How alike consecutive layers' inputs are",
            [measures],
            lambda measure: similarity.plot_consecutive(found, study.styles, measure),
        ),
        _group(
            "similarity",
            "All pairs of layers",
            [variants, measures],
            lambda variant, measure: similarity.plot_similarity(found, variant, measure),
        ),
        _group(
            "attention",
            "How widely heads look",
            [variants, attentions],
            lambda variant, of: training_signals.plot_attention(found, variant, of),
        ),
        _group("temperatures", "Temperatures", [], lambda: training_signals.plot_temperatures(found, study.styles)),
    ]


def pair_figures(study: StudyResults) -> list[FigureGroup]:
    """Plot the differences of pairs of variants, and of variants from before their training."""
    found, (start, end) = study.layers.found, recordings.before_and_after(study.traces.found)
    sides: dict[str, tuple[str, str | None]] = {
        f"{first} less {second}": (first, second)
        for first, second in variant_pairs(study)
        if panels.runs_of(found, first)
    }
    sides |= {f"{name}: what training changed": (name, None) for name in panels.variant_labels(start)}

    def draw(pair: str, kind: Any) -> go.Figure:
        first, second = sides[pair]
        own = panels.runs_of(end if second is None else found, first)
        other = panels.runs_of(start, first) if second is None else panels.runs_of(found, second)
        return difference.plot_difference(own, other, (first, second or f"{first} before training"), kind)

    choice = FigureChoice("pair", "Difference", {name: name for name in sides})
    return [_group("difference", "Two variants, or before and after training", [choice, KINDS], draw)] if sides else []


def variant_pairs(study: StudyResults) -> list[tuple[str, str]]:
    """Return the pairs of variants to compare: each with its baseline, and all pairs of a few variants."""
    labels = labels_by_cell(study.plan)
    planned = [(row["label"], labels.get(row["compare_to"])) for row in study.plan["rows"]]
    chosen = [(first, second) for first, second in planned if second is not None]
    if len(study.variants) <= MAX_PAIRED:
        rest = [(second, first) for at, first in enumerate(study.variants) for second in study.variants[at + 1 :]]
        chosen += [pair for pair in rest if pair not in chosen and pair[::-1] not in chosen]
    return chosen


def _variants(study: StudyResults, names: Iterable[str]) -> FigureChoice:
    """Make the menu of variants, which starts with that of the run to look at first."""
    telling = recordings.most_telling(study.layers.found)
    options = {name: name for name in names} or {"": ""}
    return FigureChoice("variant", "Variant", options, None if telling is None else telling.label)


def _group(name: str, title: str, choices: list[FigureChoice], draw: Callable[..., go.Figure]) -> FigureGroup:
    """Make a figure for every combination of the choices, drawn when it is asked for."""
    return FigureGroup(name, title, FiguresOnDemand(choices, draw), tuple(choices))
