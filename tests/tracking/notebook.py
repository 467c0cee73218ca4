"""A tracker that writes down what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlab.report.sync.study_sync import StudySync
from mtlab.runs.store import Store
from mtlab.tracking.base import Receipt, Sink, TrackedRun, TrackerMedia


@dataclass
class Taken:
    about: TrackedRun
    params: Mapping[str, Any] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    values: list[Mapping[str, float]] = field(default_factory=list)
    shown: dict[str, TrackerMedia] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    failed: bool | None = None


class Notebook(Sink):
    """A sink that keeps runs as a server would: by id, and no step twice."""

    live = images = checkpoints = False

    def __init__(self, name: str = "notebook", *, fails: str = "", **wants: bool | None) -> None:
        super().__init__(None, Path("notebook"))
        self.name = name
        self.fails = fails  #: the call that raises
        self.runs: dict[str, Taken] = {}
        for what, wanted in wants.items():
            setattr(self, what, wanted)

    def place(self, receipt: Receipt) -> str:
        return f"on page {receipt['id']}"

    def tracker(self) -> Page:
        return Page(self)

    def holds(self, receipt: Receipt) -> bool:
        return receipt.get("id") in self.runs

    def named(self, name: str) -> Taken:
        (found,) = [run for run in self.runs.values() if run.about.name == name]
        return found


class Page:
    def __init__(self, sink: Notebook) -> None:
        self.sink = sink

    def _maybe(self, call: str) -> None:
        if self.sink.fails == call:
            raise RuntimeError(f"no {call}\ntoday")

    def start(self, about: TrackedRun) -> None:
        self._maybe("start")
        self.run = self.sink.runs.setdefault(about.id, Taken(about))

    def params(self, values: Mapping[str, Any]) -> None:
        self.run.params = values

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        self._maybe("log")
        if not self.run.steps or step > self.run.steps[-1]:
            self.run.steps.append(step)
            self.run.values.append(metrics)
            self.run.shown |= figures

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        self._maybe("close")
        self.run.summary, self.run.files, self.run.failed = summary, files, failed
        return {"id": self.run.about.id}


def make_sync(store: Store, *sinks: Notebook) -> tuple[StudySync, list[str], list[dict[str, Any]]]:
    told: list[str] = []
    progress: list[dict[str, Any]] = []
    return StudySync(store, store.plan("tracked"), sinks, told.append, progress=progress.append), told, progress
