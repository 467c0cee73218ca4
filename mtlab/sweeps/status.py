"""The status of a search, computed from its trials: how many are in which state, whose, at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mtlab.sweeps.spec import SearchBudget

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# User attributes of a trial
CELL = "cell"  #: id of its cell
OWNER = "launcher"  #: token of the launcher that works on it
VALUES = "seeds"  #: seed → objectives, in order
SECONDS = "seconds"  #: training time of its seeds
PROBLEM = "problem"  #: why it failed: kind, problem
REFUSED = "refused"  #: why it was not trained
RETRY_OF = "again"  #: number of the failed trial that it repeats
START_POINT = "start point"  #: index of its start point

#: Kinds of failure that do not come from a trial's settings: the next launch tries such a trial again.
EXTERNAL_FAILURES = frozenset({"bug", "disk", "input", "killed", "timeout"})
REFUSALS = 10  #: refused proposals, in budgets, after which no further trial of a variant is proposed

TrialState = Literal["done", "pruned", "failed", "refused", "running", "waiting", "tried again"]
STATES: tuple[TrialState, ...] = ("done", "running", "waiting", "pruned", "failed", "refused", "tried again")
_OF_OPTUNA: Mapping[str, TrialState] = {
    "COMPLETE": "done",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclass(frozen=True)
class SearchStatus:
    """The status of one search."""

    states: Mapping[int, TrialState]  #: by trial number
    owners: Mapping[int, str | None]  #: running trial → token of its launcher
    seconds: float  #: training time of all cells that were tried: a trial that repeats one goes on with its runs
    budget: SearchBudget
    start_points: int = 0  #: start points that were proposed
    to_retry: tuple[int, ...] = ()  #: failed trials that the next launch tries again

    @property
    def proposed(self) -> int:
        """Number of trials in all, whatever their state."""
        return len(self.states)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Numbers of the waiting trials."""
        return tuple(number for number, state in self.states.items() if state == "waiting")

    @property
    def counts(self) -> dict[TrialState, int]:
        """Number of trials by state, without zeros."""
        counts = {state: self._count(state) for state in STATES}
        return {state: count for state, count in counts.items() if count}

    @property
    def started(self) -> int:
        """Number of trials that count against the budget: refused and repeated ones do not."""
        return self.proposed - self._count("refused", "tried again")

    @property
    def ended(self) -> int:
        """Number of trials of the budget that need no more work."""
        return self._count("done", "pruned", "failed")

    @property
    def left(self) -> int:
        """Number of trials of the budget that need more work, if none is refused and no time limit ends them."""
        return 0 if self.complete else max(self.budget.trials - self.ended, 0)

    @property
    def given_up(self) -> bool:
        """Were so many proposals refused that no further one is made?"""
        return self._count("refused") >= REFUSALS * self.budget.trials

    @property
    def out_of_time(self) -> bool:
        """Has the variant used up its hours?"""
        return self.budget.hours is not None and self.seconds >= 3600 * self.budget.hours

    @property
    def has_room(self) -> bool:
        """May a new trial be proposed?"""
        return self.started < self.budget.trials and not self.given_up and not self.out_of_time

    @property
    def complete(self) -> bool:
        """Is nothing left to do?"""
        return not self.has_room and not self._count("running", "waiting")

    def _count(self, *states: TrialState) -> int:
        return sum(state in states for state in self.states.values())


def search_status(trials: Iterable[FrozenTrial], budget: SearchBudget) -> SearchStatus:
    """Compute the status of a search.

    Args:
        trials: all of its trials, by number.
        budget: what it may use.

    """
    trials = list(trials)
    repeated = {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}
    states = {trial.number: _state(trial, repeated) for trial in trials}
    seconds: dict[Any, float] = {}
    for trial in trials:
        cell = trial.user_attrs.get(CELL)
        seconds[cell] = max(seconds.get(cell, 0.0), float(trial.user_attrs.get(SECONDS, 0.0)))
    return SearchStatus(
        states=states,
        owners={trial.number: trial.user_attrs.get(OWNER) for trial in trials if states[trial.number] == "running"},
        seconds=sum(seconds.values()),
        budget=budget,
        start_points=sum(START_POINT in trial.user_attrs for trial in trials),
        to_retry=tuple(
            trial.number
            for trial in trials
            if states[trial.number] == "failed" and trial.user_attrs.get(PROBLEM, {}).get("kind") in EXTERNAL_FAILURES
        ),
    )


def _state(trial: FrozenTrial, repeated: set[Any]) -> TrialState:
    if trial.state.is_finished() and REFUSED in trial.user_attrs:
        return "refused"
    return "tried again" if trial.number in repeated else _OF_OPTUNA[trial.state.name]
