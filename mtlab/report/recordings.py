"""What the runs of a study recorded, run by run: found, or missing and why. What every figure of layers starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mtlab import files
from mtlab.errors import UserError
from mtlab.recording import reader
from mtlab.recording.reader import Layers, Missing, TrainingTrace, Worth
from mtlab.runs.store import State, Store

T = TypeVar("T")
History = list[dict[str, Any]]  #: rows of `metrics.jsonl`: step, seconds, values

_STATES: Mapping[State, str] = {
    "new": "has not been started",
    "running": "is still running",
    "interrupted": "was cut off: `mtlab run` resumes it",
    "failed": "failed",
    "blocked": "waits for a run that failed",
}


@dataclass(frozen=True, order=True)
class StudyRun:
    """The run that something was recorded of."""

    label: str  #: of the variant
    seed: int
    run: str  #: `<cell>/s<seed>`

    @property
    def cell(self) -> str:
        """The variant's id."""
        return self.run.partition("/")[0]

    @property
    def title(self) -> str:
        """Name it for people."""
        return f"{self.label}, seed {self.seed}"


@dataclass(frozen=True)
class RunRecordings(Generic[T]):
    """What was found in the runs of a study, in the plan's order, and why the rest was not."""

    found: Mapping[StudyRun, T]
    missing: Mapping[StudyRun, Missing]

    @property
    def why(self) -> str | None:
        """Say in one sentence what is missing; None if nothing is."""
        reasons: dict[str, list[StudyRun]] = {}
        for source, missing in self.missing.items():
            reasons.setdefault(missing.why, []).append(source)
        told = [
            f"{', '.join(each.title for each in sources[:3])}"
            f"{f' and {len(sources) - 3} more runs' if len(sources) > 3 else ''}: {why}"
            for why, sources in reasons.items()
        ]
        return "; ".join(told) or None


def study_runs(plan: Mapping[str, Any]) -> tuple[StudyRun, ...]:
    """Name the runs of a plan that its table shows, in the order of its rows."""
    labels = {row["cell"]: row["label"] for row in reversed(plan["rows"])}
    order = list(dict.fromkeys(row["cell"] for row in plan["rows"]))
    runs = [run for run in plan["runs"] if run["cell"] in labels]
    runs.sort(key=lambda run: (order.index(run["cell"]), run["seed"]))
    return tuple(StudyRun(labels[run["cell"]], run["seed"], run["id"]) for run in runs)


def study_layers(store: Store, plan: Mapping[str, Any]) -> RunRecordings[Layers]:
    """Gather which layers the finished runs of a study used."""
    return read_finished_runs(store, plan, lambda source: reader.read_layers(store.run(source.run)))


def study_traces(store: Store, plan: Mapping[str, Any]) -> RunRecordings[TrainingTrace]:
    """Gather how the use of layers evolved over training, in finished runs."""
    return read_finished_runs(store, plan, lambda source: reader.read_trace(store.run(source.run)))


def study_worths(store: Store, plan: Mapping[str, Any]) -> RunRecordings[Worth]:
    """Gather what single experts are worth to finished runs."""
    return read_finished_runs(store, plan, lambda source: run_worth(store, source.run))


def study_histories(store: Store, plan: Mapping[str, Any]) -> RunRecordings[History]:
    """Gather the metrics over training, of running and failed runs too."""

    def read(source: StudyRun) -> History | Missing:
        return store.metrics(source.run) or Missing("has logged nothing yet")

    return _sorted(study_runs(plan), read)


def run_worth(store: Store, run: str) -> Worth | Missing:
    """Read what single experts are worth to one run."""
    try:
        return reader.read_worth(store.result(run), _later(store.derived(run)))
    except UserError as error:
        return Missing(str(error))


def _later(derived: Path) -> Mapping[str, Any] | None:
    try:
        found = files.read_json(derived / "interventions.json")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if isinstance(found, Mapping) else None


def read_finished_runs(
    store: Store, plan: Mapping[str, Any], read: Callable[[StudyRun], T | Missing]
) -> RunRecordings[T]:
    """Read finished runs alone: what lies in others may be that of an attempt that was cut off."""
    states = store.states(plan)

    def read_finished(source: StudyRun) -> T | Missing:
        state = states[source.run]
        return read(source) if state == "done" else Missing(_STATES.get(state, state))

    return _sorted(study_runs(plan), read_finished)


def _sorted(runs: Iterable[StudyRun], read: Callable[[StudyRun], T | Missing]) -> RunRecordings[T]:
    found: dict[StudyRun, T] = {}
    missing: dict[StudyRun, Missing] = {}
    for source in runs:
        value = read(source)
        if isinstance(value, Missing):
            missing[source] = value
        else:
            found[source] = value
    return RunRecordings(found, missing)
