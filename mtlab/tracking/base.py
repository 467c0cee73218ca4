"""The interface of sinks and their trackers, and a group of trackers of which single ones may fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import plotly.graph_objects as go

Receipt = dict[str, Any]  #: plain data that a tracker returns for a run that it has received completely


class UnreachableError(BaseException):
    """A server cannot be reached, so that no run of the study can be sent now.

    It is no `Exception`: `TrackerGroup` must not catch it as the failure of one run.
    """


@dataclass(frozen=True)
class TrackerTable:
    """A table of numbers and texts."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class TrackerFigure:
    """A figure, and its image where one was rendered."""

    figure: go.Figure  #: with plain lists instead of arrays
    png: bytes | None = None


TrackerMedia = TrackerFigure | TrackerTable


@dataclass(frozen=True)
class TrackedRun:
    """The names of a run in a tracker."""

    id: str  #: the same each time the run is sent
    study: str
    name: str
    kind: Literal["run", "comparison"]
    notes: str = ""
    group: str = ""  #: of a run its variant
    tags: tuple[str, ...] = ()
    started: float | None = None  #: when it began to train, in seconds since 1970; None: it is going on now


class Tracker(Protocol):
    """Receives one run: start, parameters, log step by step, close. Any method may raise."""

    def start(self, run: TrackedRun) -> None:
        """Start a run, or continue one that was started before."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Set the parameters, nested plain data."""

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Log all values of a step; steps increase, and a step that was logged before is left as it is."""

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        """End the run with its final numbers and files to keep; return a receipt."""


class Sink(Protocol):
    """A destination of runs, which makes a tracker for each."""

    name: str

    @property
    def live(self) -> bool:
        """Whether the sink takes the steps of running runs, not finished runs alone."""

    def tracker(self) -> Tracker:
        """Make a tracker for a run."""

    def holds(self, receipt: Receipt) -> bool:
        """Return whether the run of a receipt is where it would be sent now."""


class TrackerGroup:
    """Sends a run to several trackers; one that raises is left out for the rest of the run.

    Args:
        trackers: by name.
        failed: is called with the name of a tracker and its error.

    """

    def __init__(self, trackers: Mapping[str, Tracker], failed: Callable[[str, Exception], None]) -> None:
        self.trackers = dict(trackers)
        self.names = frozenset(trackers)  #: of all trackers at the start
        self.failed = failed

    def start(self, run: TrackedRun) -> None:
        """See `Tracker.start`."""
        self._each(lambda tracker: tracker.start(run))

    def params(self, values: Mapping[str, Any]) -> None:
        """See `Tracker.params`."""
        self._each(lambda tracker: tracker.params(values))

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """See `Tracker.log`."""
        self._each(lambda tracker: tracker.log(step, metrics, figures))

    def close(
        self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False
    ) -> dict[str, Receipt]:
        """See `Tracker.close`; return the receipts of trackers that received everything, by name."""
        return self._each(lambda tracker: tracker.close(summary, files, failed=failed))

    def _each(self, call: Callable[[Tracker], Any]) -> dict[str, Any]:
        results = {}
        for name, tracker in list(self.trackers.items()):
            try:
                results[name] = call(tracker)
            except Exception as error:
                del self.trackers[name]
                self.failed(name, error)
        return results
