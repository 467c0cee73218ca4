"""Plots the importance of each setting in a search, by Optuna's PED-ANOVA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mtlab.report.figures import theme
from mtlab.report.figures.sweep import search_trials
from mtlab.report.figures.theme import Style
from mtlab.sweeps.optuna_helpers import silence_optuna
from mtlab.sweeps.stored import StoredSearch

EVALUATOR = "PED-ANOVA"  #: Optuna's default: how the better trials differ from all, parameter by parameter
FEWEST = 4  #: finished trials below which importances say nothing


def plot_importances(searches: Sequence[StoredSearch], styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Plot the importance of each setting in each variant's search, most important first."""
    metric = search_trials.objective_metric(searches)
    title = f"Importance of settings for {metric} ({EVALUATOR})"
    measured = {found.label: shares for found in searches if (shares := measure_importances(found)) is not None}
    if not measured:
        return theme.empty(title, f"It takes {FEWEST} finished trials of a variant with different values.")
    paths = sorted(
        {path for shares in measured.values() for path in shares},
        key=lambda path: max(shares.get(path, 0.0) for shares in measured.values()),
    )
    figure = go.Figure()
    for label, shares in measured.items():
        style = search_trials.search_style(searches, styles, label)
        own = [path for path in paths if path in shares]
        figure.add_trace(
            go.Bar(
                x=[shares[path] for path in own],
                y=own,
                orientation="h",
                name=theme.escape_markup(label),
                marker={"color": style.colour},
                hovertemplate="%{fullData.name}: %{y} %{x:.0%}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="share of importance, within a variant", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(categoryorder="array", categoryarray=paths)
    figure.update_layout(barmode="group", showlegend=len(measured) > 1)
    missing = [found.label for found in searches if found.label not in measured]
    counts = search_trials.describe_trial_counts(searches)
    caption = (
        f"{EVALUATOR} of Optuna: how far the settings of the better trials differ from those of all; the shares of one "
        f"variant sum to one. {counts.capitalize()}. From few trials it is a hint, no more."
    ) + (f" Too few trials: {', '.join(missing)}." if missing else "")
    return theme.finish(figure, title, caption, height=160 + 22 * len(paths) * max(1, len(measured)))


def measure_importances(found: StoredSearch) -> dict[str, float] | None:
    """Return the importances of one variant's settings; None with too few or equal trials."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    trials = search_trials.finished_trials(found)
    if found.study is None or len(trials) < FEWEST or len({trial.values[0] for trial in trials}) < 2:
        return None
    sign = -1 if found.objectives[0].mode == "max" else 1  # given a target, Optuna takes its lowest values for the best
    with silence_optuna():
        try:
            shares = get_param_importances(
                found.study, evaluator=PedAnovaImportanceEvaluator(), target=lambda trial: sign * trial.values[0]
            )
        except (RuntimeError, ValueError):  # no setting was drawn in all trials, or none of them varied
            return None
    return dict(shares) or None
