"""The interface of a tracker, and the fan-out to several: one that fails is left out, and nothing else stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import plotly.graph_objects as go

Receipt = dict[str, Any]  #: what a tracker says of a run that it has taken whole: plain data


class UnreachableError(BaseException):
    """A server cannot be had: no run of the study will get there now. No `Exception`, as more than one run is lost."""


@dataclass(frozen=True)
class TrackerTable:
    """A table of numbers and words."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class TrackerFigure:
    """A figure, and the same as a picture where one was drawn."""

    figure: go.Figure  #: of plain lists, no arrays
    png: bytes | None = None


TrackerMedia = TrackerFigure | TrackerTable


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is to call a run."""

    id: str  #: the same whenever this run is sent
    study: str
    name: str
    kind: Literal["run", "comparison"]
    notes: str = ""


class Tracker(Protocol):
    """Takes one run: started, told its parameters, logged to step by step, closed. Any of it may raise."""

    def start(self, about: TrackedRun) -> None:
        """Begin with a run, or go on with one that was begun before."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Take the whole configuration, nested plain data."""

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Take all that there is at a step; steps only rise, and one that is there already is left as it is."""

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        """End: the final numbers, and files to keep. Return what to remember of it."""


class Sink(Protocol):
    """Where runs go: makes a tracker for each."""

    name: str
    live: bool  #: does it want steps while a run goes on? Else finished runs alone

    def tracker(self) -> Tracker:
        """Make a tracker for a run."""

    def holds(self, receipt: Receipt) -> bool:
        """Is a run with this receipt where it would go now?"""


class TrackerGroup:
    """Hands a run on to several trackers. One that raises gets no more of this run.

    Args:
        trackers: name → tracker.
        failed: is given the name of a tracker, and what it raised.

    """

    def __init__(self, trackers: Mapping[str, Tracker], failed: Callable[[str, Exception], None]) -> None:
        self.trackers = dict(trackers)
        self.names = frozenset(trackers)  #: of all that were there at the start
        self.failed = failed

    def start(self, about: TrackedRun) -> None:
        """See `Tracker.start`."""
        self._each(lambda tracker: tracker.start(about))

    def params(self, values: Mapping[str, Any]) -> None:
        """See `Tracker.params`."""
        self._each(lambda tracker: tracker.params(values))

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """See `Tracker.log`."""
        self._each(lambda tracker: tracker.log(step, metrics, figures))

    def close(
        self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False
    ) -> dict[str, Receipt]:
        """See `Tracker.close`; receipts by the name of the tracker, of those that took it all."""
        return self._each(lambda tracker: tracker.close(summary, files, failed=failed))

    def _each(self, call: Callable[[Tracker], Any]) -> dict[str, Any]:
        given = {}
        for name, tracker in list(self.trackers.items()):
            try:
                given[name] = call(tracker)
            except Exception as error:
                del self.trackers[name]
                self.failed(name, error)
        return given
