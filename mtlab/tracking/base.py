"""The interface of sinks and their trackers, how they are registered, and a group of which single ones may fail."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from mtlab.config.hashing import digest
from mtlab.config.registry import Registry

if TYPE_CHECKING:
    import plotly.graph_objects as go

Receipt = dict[str, Any]  #: plain data that a tracker returns for a run that it has received completely


class UnreachableError(BaseException):
    """A server cannot be reached, so that no run of the study can be sent to it now.

    It is no `Exception`: `TrackerGroup` must not catch it as the failure of one run.

    Args:
        tracker: the name that it is registered under.
        message: what is wrong, after the sink's name.

    """

    def __init__(self, tracker: str, message: str) -> None:
        super().__init__(message)
        self.tracker = tracker


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

    def time_of(self, metrics: Mapping[str, float], last: float) -> float:
        """Return when a step was logged: now, or by the run's own clock; `last`, where the metrics name no time."""
        if self.started is None:
            return time.time()
        return self.started + metrics["seconds"] if "seconds" in metrics else last


class Tracker(Protocol):
    """Receives one run: start, parameters, log step by step, close. Any method may raise."""

    def start(self, run: TrackedRun) -> None:
        """Start a run, or continue or replace one that was started before: all of its steps are logged again."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Set the parameters, nested plain data."""

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Log all values of a step; steps increase, and a step that was logged before is left as it is."""

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        """End the run with its final numbers and files to keep; return a receipt."""


class Sink(ABC):
    """A destination of a study's runs, which makes a tracker for each.

    Its options are a frozen dataclass `Config` in the class, with a default for each. It is made in a process of its
    own beside training. The library behind it is imported by `tracker` at the earliest.

    Args:
        options: as the study has them below `tracking:`.
        folder: of the study in the store, below which the sink may write.

    """

    name: ClassVar[str]  #: in messages and receipts
    package: ClassVar[str] = ""  #: what must be importable
    install: ClassVar[str] = ""  #: what `pip install` then takes: an extra of mtlab

    def __init__(self, options: Any, folder: Path) -> None:
        self.options = options
        self.folder = folder

    @property
    def owner(self) -> str:
        """What tells the runs of this study from those of other stores, in a place that several share."""
        return digest([str(self.folder.absolute())])

    @property
    def live(self) -> bool:
        """Whether the sink takes the steps of running runs, not finished runs alone."""
        return False

    @property
    def images(self) -> bool | None:
        """Whether it shows figures as images: its option of that name; None: where they can be rendered."""
        return getattr(self.options, "images", False)

    @property
    def checkpoints(self) -> bool:
        """Whether it keeps the best checkpoints, its option of that name; only then `Tracker.close` gets one."""
        return getattr(self.options, "checkpoints", False)

    def prepare(self) -> None:
        """Prepare this process before the library is imported; called once."""
        return

    @abstractmethod
    def tracker(self) -> Tracker:
        """Make a tracker for a run."""

    @abstractmethod
    def holds(self, receipt: Receipt) -> bool:
        """Return whether the run of a receipt is where it would be sent now."""

    def is_lost(self) -> bool:
        """Return whether the copy on this disk is gone that all runs of the study would be in; asked once, at first."""
        return False

    @abstractmethod
    def place(self, receipt: Receipt) -> str:
        """Say where the run of a receipt is: `at URL` or `in FOLDER`."""

    @classmethod
    def without_server(cls, options: Any) -> Any | None:  # noqa: ARG003 - for those that override it
        """Return options with which the sink goes on when its server cannot be reached; None: it does not."""
        return None


TRACKERS: Registry[Sink] = Registry("tracker", ("mtlab.tracking.trackers",), "mtlab.trackers", Sink)
register_tracker = TRACKERS.register


class TrackerGroup:
    """Sends a run to several trackers; one that raises is left out for the rest of the run.

    Args:
        trackers: by name.
        failed: is called with the name of a tracker and its error.
        keep_files: names of those that get the files of a run.
        no_images: names of those that get figures without their images.

    """

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        failed: Callable[[str, Exception], None],
        keep_files: Collection[str] = (),
        no_images: Collection[str] = (),
    ) -> None:
        self.trackers = dict(trackers)
        self.names = frozenset(trackers)  #: of all trackers at the start
        self.failed = failed
        self.keep_files = frozenset(keep_files)
        self.no_images = frozenset(no_images)

    def start(self, run: TrackedRun) -> None:
        """See `Tracker.start`."""
        self._each(lambda tracker: tracker.start(run))

    def params(self, values: Mapping[str, Any]) -> None:
        """See `Tracker.params`."""
        self._each(lambda tracker: tracker.params(values))

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """See `Tracker.log`."""
        plain = {name: replace(it, png=None) if isinstance(it, TrackerFigure) else it for name, it in figures.items()}
        self._each_by_name(
            lambda name, tracker: tracker.log(step, metrics, plain if name in self.no_images else figures)
        )

    def close(
        self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False
    ) -> dict[str, Receipt]:
        """See `Tracker.close`; return the receipts of trackers that received everything, by name."""
        return self._each_by_name(
            lambda name, tracker: tracker.close(summary, files if name in self.keep_files else {}, failed=failed)
        )

    def _each(self, call: Callable[[Tracker], Any]) -> dict[str, Any]:
        return self._each_by_name(lambda _, tracker: call(tracker))

    def _each_by_name(self, call: Callable[[str, Tracker], Any]) -> dict[str, Any]:
        results = {}
        for name, tracker in list(self.trackers.items()):
            try:
                results[name] = call(name, tracker)
            except Exception as error:
                del self.trackers[name]
                self.failed(name, error)
        return results
