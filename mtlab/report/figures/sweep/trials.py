"""What figures of searches are made of: trials as points, told apart by what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mtlab.report.figures import theme
from mtlab.report.figures.theme import Style
from mtlab.report.formats import numbers
from mtlab.sweeps.stored import StoredSearch

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

NONE_YET = "No trial has finished yet."


def objective_metric(searches: Sequence[StoredSearch], place: int = 0) -> str:
    """Name an objective."""
    return searches[0].objectives[place].metric if searches else ""


def display_scale(name: str) -> float:
    """Tell by what values are multiplied to be shown: shares are shown in points."""
    return 100.0 if numbers.in_points(name) else 1.0


def axis_title(name: str) -> str:
    """Name an axis of a metric."""
    return f"{name}, points" if numbers.in_points(name) else name


def search_labels(searches: Sequence[StoredSearch]) -> list[str]:
    """Name the variants."""
    return [found.label for found in searches]


def search_style(searches: Sequence[StoredSearch], styles: Mapping[str, Style] | None, label: str) -> Style:
    """Look up how a variant is drawn."""
    return theme.find_style(styles, label, search_labels(searches))


def satisfies_constraints(trial: FrozenTrial) -> bool:
    """Does a trial keep all limits?"""
    return all(excess <= 0 for excess in trial.constraints.values())


def finished_trials(found: StoredSearch, *, allowed: bool = True) -> list[FrozenTrial]:
    """Take the trials that finished; with `allowed`, only those that keep all limits."""
    words_ = found.status.states
    return [
        each for each in found.trials if words_[each.number] == "done" and (satisfies_constraints(each) or not allowed)
    ]


def pruned_trials(found: StoredSearch) -> list[FrozenTrial]:
    """Take the trials that were stopped early and had a value by then."""
    return [each for each in found.trials if found.status.states[each.number] == "pruned" and each.values]


def describe_trial_counts(searches: Sequence[StoredSearch]) -> str:
    """Say how many trials a figure shows.

    >>> counted([])
    'no trials'
    """
    totals: dict[str, int] = {}
    for found in searches:
        for word, count in found.status.counts.items():
            totals[word] = totals.get(word, 0) + count
    shown = [f"{totals[word]} {word}" for word in ("done", "pruned", "failed", "refused", "running") if word in totals]
    return f"trials: {', '.join(shown)}" if shown else "no trials"
