"""Helpers of the figures of sweeps: trials by state, axes of metrics, and counts for captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mtlab.report.figures import theme
from mtlab.report.figures.theme import Style
from mtlab.sweeps.stored import StoredSearch

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

NONE_YET = "No trial has finished yet."


def objective_metric(searches: Sequence[StoredSearch]) -> str:
    """Return the metric of the first objective."""
    return searches[0].objectives[0].metric if searches else ""


def search_labels(searches: Sequence[StoredSearch]) -> list[str]:
    """Return the labels of the variants."""
    return [found.label for found in searches]


def search_style(searches: Sequence[StoredSearch], styles: Mapping[str, Style] | None, label: str) -> Style:
    """Return the style of a variant."""
    return theme.find_style(styles, label, search_labels(searches))


def finished_trials(found: StoredSearch, *, allowed: bool = True) -> list[FrozenTrial]:
    """Return the finished trials; with `allowed`, only those that satisfy all constraints."""
    done = [each for each in found.trials if found.status.states[each.number] == "done"]
    return [each for each in done if not allowed or all(excess <= 0 for excess in each.constraints.values())]


def pruned_trials(found: StoredSearch) -> list[FrozenTrial]:
    """Return the pruned trials that had a value by then."""
    return [each for each in found.trials if found.status.states[each.number] == "pruned" and each.values]


def describe_trial_counts(searches: Sequence[StoredSearch]) -> str:
    """Say how many trials a figure shows by state.

    >>> describe_trial_counts([])
    'no trials'
    """
    totals: dict[str, int] = {}
    for found in searches:
        for word, count in found.status.counts.items():
            totals[word] = totals.get(word, 0) + count
    shown = [f"{totals[word]} {word}" for word in ("done", "pruned", "failed", "refused", "running") if word in totals]
    return f"trials: {', '.join(shown)}" if shown else "no trials"
