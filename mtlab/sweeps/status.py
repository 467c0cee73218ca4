"""What a search's trials tell of it: how many, in which state, whose, at what cost. Reads, never writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mtlab.sweeps.spec import SearchBudget

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# Attributes of a trial
CELL = "cell"  #: id of its cell
OWNER = "launcher"  #: name of the launcher that works on it
VALUES = "seeds"  #: seed → objectives, in order
SECONDS = "seconds"  #: training time of its seeds
PROBLEM = "problem"  #: why it failed: kind, problem
REFUSED = "refused"  #: why it was not trained
AGAIN = "again"  #: number of the failed trial that it repeats
POINT = "start point"  #: which of the start points it is, from 0

#: Failures for reasons outside of a trial's settings: tried again by the next launch, like any run.
OUTSIDE = frozenset({"bug", "input", "killed", "timeout"})
REFUSALS = 10  #: refused proposals, in budgets, after which a variant is given up

TrialState = Literal["done", "pruned", "failed", "refused", "running", "waiting", "tried again"]
STATES: tuple[TrialState, ...] = ("done", "running", "waiting", "pruned", "failed", "refused", "tried again")


@dataclass(frozen=True)
class SearchStatus:
    """How one search stands."""

    words: Mapping[int, TrialState]  #: number → state
    owners: Mapping[int, str | None]  #: running trial → launcher
    seconds: float  #: training time of all trials
    budget: SearchBudget
    points: int = 0  #: start points that were asked for
    to_retry: tuple[int, ...] = field(default=())  #: failed trials that the next launch tries again

    @property
    def asked(self) -> int:
        """Trials in all, whatever became of them."""
        return len(self.words)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Numbers of the trials that wait to be taken up."""
        return tuple(number for number, word in self.words.items() if word == "waiting")

    @property
    def counts(self) -> dict[TrialState, int]:
        """Trials by state; those that occur."""
        counts = {word: sum(found == word for found in self.words.values()) for word in STATES}
        return {word: count for word, count in counts.items() if count}

    @property
    def begun(self) -> int:
        """Trials that count against the budget: what was refused before training, or is tried again, does not."""
        return sum(word not in ("refused", "tried again") for word in self.words.values())

    @property
    def ended(self) -> int:
        """Trials of the budget that need no more work."""
        return sum(word in ("done", "pruned", "failed") for word in self.words.values())

    @property
    def given_up(self) -> bool:
        """Were so many proposals refused that no further one is asked for?"""
        refused = sum(word == "refused" for word in self.words.values())
        return refused >= REFUSALS * self.budget.trials

    @property
    def out_of_time(self) -> bool:
        """Has the variant had its hours?"""
        return self.budget.hours is not None and self.seconds >= 3600 * self.budget.hours

    @property
    def room(self) -> bool:
        """May a new trial be asked for?"""
        return self.begun < self.budget.trials and not self.given_up and not self.out_of_time

    @property
    def complete(self) -> bool:
        """Is nothing left to do?"""
        return not self.room and not any(word in ("running", "waiting") for word in self.words.values())


def search_status(trials: Iterable[FrozenTrial], budget: SearchBudget) -> SearchStatus:
    """Tell how a search stands.

    Args:
        trials: all of its trials, by number.
        budget: what it may use.

    """
    trials = list(trials)
    repeated = {trial.user_attrs[AGAIN] for trial in trials if AGAIN in trial.user_attrs}
    words = {trial.number: _word(trial, repeated) for trial in trials}
    return SearchStatus(
        words=words,
        owners={trial.number: trial.user_attrs.get(OWNER) for trial in trials if words[trial.number] == "running"},
        seconds=sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial in trials),
        budget=budget,
        points=sum(POINT in trial.user_attrs for trial in trials),
        to_retry=tuple(
            trial.number
            for trial in trials
            if words[trial.number] == "failed" and _kind(trial.user_attrs.get(PROBLEM)) in OUTSIDE
        ),
    )


def _word(trial: FrozenTrial, repeated: set[Any]) -> TrialState:
    if trial.state.is_finished() and REFUSED in trial.user_attrs:
        return "refused"
    if trial.number in repeated:
        return "tried again"
    words: Mapping[str, TrialState] = {
        "COMPLETE": "done",
        "PRUNED": "pruned",
        "FAIL": "failed",
        "RUNNING": "running",
        "WAITING": "waiting",
    }
    return words[trial.state.name]


def _kind(problem: Any) -> str | None:
    return problem.get("kind") if isinstance(problem, Mapping) else None
