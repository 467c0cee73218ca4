"""What the runs of a study recorded, run by run, or why it is missing: the input of every figure of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from mtlab import files
from mtlab.errors import UserError
from mtlab.recording import reader
from mtlab.recording.reader import MODALITIES, Layers, Missing, Tokens, TrainingTrace, Worth
from mtlab.runs import schemas
from mtlab.runs.find_run import labels_by_cell
from mtlab.runs.store import State, Store, is_sweep

CUT_TRIAL = "was pruned or cut off before its end, when layers are recorded"

T = TypeVar("T")
K = TypeVar("K")
MetricHistory = list[dict[str, Any]]  #: rows of `metrics.jsonl`: step, seconds, values

_STATES: Mapping[State, str] = {
    "new": "has not been started",
    "running": "is still running",
    "interrupted": "was cut off: `mtlab run` resumes it",
    "failed": "failed",
    "blocked": "waits for a run that failed",
}


@dataclass(frozen=True, order=True)
class StudyRun:
    """A run under the label that figures show it by."""

    label: str  #: of the variant, or of a group of variants
    seed: int
    run: str  #: `<cell>/s<seed>`

    @property
    def cell(self) -> str:
        """The variant's id."""
        return self.run.partition("/")[0]

    @property
    def title(self) -> str:
        """Label and seed."""
        return f"{self.label}, seed {self.seed}"


@dataclass(frozen=True)
class RunRecordings(Generic[T]):
    """Recordings of the runs of a study in the plan's order, and the reasons of those that are missing."""

    found: Mapping[StudyRun, T]
    missing: Mapping[StudyRun, Missing]

    @property
    def why(self) -> str | None:
        """What is missing and why, in one sentence; None if nothing is."""
        by_reason: dict[str, list[StudyRun]] = {}
        for run, missing in self.missing.items():
            by_reason.setdefault(missing.why, []).append(run)
        parts = [
            f"{', '.join(run.title for run in runs[:3])}"
            f"{f' and {len(runs) - 3} more runs' if len(runs) > 3 else ''}: {why}"
            for why, runs in by_reason.items()
        ]
        return "; ".join(parts) or None

    def of_variants(self, *labels: str) -> RunRecordings[T]:
        """Keep the runs of some variants."""
        return RunRecordings(
            {run: value for run, value in self.found.items() if run.label in labels},
            {run: missing for run, missing in self.missing.items() if run.label in labels},
        )


def align_levels(found: Mapping[K, Layers]) -> dict[K, Layers]:
    """Lay the rows of all runs out over the levels that any of them is offered, so that they can be averaged."""
    levels = {
        modality: tuple(sorted({level for each in found.values() for level in each.levels.get(modality, ())}))
        for modality in MODALITIES
    }
    return {run: each.over(levels) for run, each in found.items()}


def most_telling(found: Mapping[K, Layers]) -> K | None:
    """Return the run to look at first: the one whose weights of levels vary most from token to token.

    Where none vary (managers with the same weights for all tokens), the one that draws on several levels most evenly.
    Of several alike, the first.
    """

    def variation(layers: Layers) -> tuple[float, float]:
        places = [(modality, depth) for modality in MODALITIES for depth in layers.depths("weights_tokens", modality)]
        spreads = [layers.experts("weights", modality, depth, "tokens") for modality, depth in places]
        entropies = [layers.one("contributions_entropy", modality, depth) for modality, depth in places]
        return (
            round(sum(float(np.nanmean(spread)) for spread in spreads if spread is not None) / max(1, len(spreads)), 6),
            sum(entropy for entropy in entropies if entropy is not None) / max(1, len(entropies)),
        )

    return max(found, key=lambda run: variation(found[run]), default=None)


def study_runs(plan: Mapping[str, Any]) -> tuple[StudyRun, ...]:
    """List the runs that the table of a plan shows, in the order of its rows."""
    labels = labels_by_cell(plan)
    order = list(dict.fromkeys(row["cell"] for row in plan["rows"]))
    runs = [run for run in plan["runs"] if run["cell"] in labels]
    runs.sort(key=lambda run: (order.index(run["cell"]), run["seed"]))
    return tuple(StudyRun(labels[run["cell"]], run["seed"], run["id"]) for run in runs)


def study_layers(store: Store, plan: Mapping[str, Any]) -> RunRecordings[Layers]:
    """Read which layers the finished runs of a study used."""
    return read_finished_runs(store, plan, lambda run: reader.read_layers(store.run(run.run)))


def study_tokens(store: Store, plan: Mapping[str, Any]) -> RunRecordings[Tokens]:
    """Read what every token of some examples draws on in the finished runs of a study."""
    return read_finished_runs(store, plan, lambda run: reader.read_tokens(store.run(run.run)))


def study_traces(store: Store, plan: Mapping[str, Any]) -> RunRecordings[TrainingTrace]:
    """Read how the use of layers evolved over training in the finished runs of a study."""
    return read_finished_runs(store, plan, lambda run: reader.read_trace(store.run(run.run)))


def study_worths(store: Store, plan: Mapping[str, Any]) -> RunRecordings[Worth]:
    """Read what single experts are worth to the finished runs of a study."""
    return read_finished_runs(store, plan, lambda run: run_worth(store, run.run))


def study_histories(store: Store, plan: Mapping[str, Any]) -> RunRecordings[MetricHistory]:
    """Read the metrics over training, of running and failed runs too."""

    def read(run: StudyRun) -> MetricHistory | Missing:
        return store.metrics(run.run) or Missing("has logged nothing yet")

    return _read_each(study_runs(plan), read)


def run_worth(store: Store, run: str) -> Worth | Missing:
    """Read what single experts are worth to one run, measured in it or on demand later."""
    try:
        return reader.read_worth(store.result(run), _later_interventions(store, run))
    except UserError as error:
        return Missing(str(error))


def read_finished_runs(
    store: Store, plan: Mapping[str, Any], read: Callable[[StudyRun], T | Missing]
) -> RunRecordings[T]:
    """Read something of each finished run: files of other runs may be those of an attempt that was cut off."""
    states, sweep = store.states(plan), is_sweep(plan)

    def read_if_finished(run: StudyRun) -> T | Missing:
        state = states[run.run]
        if sweep and state == "interrupted":
            return Missing(CUT_TRIAL)
        return read(run) if state == "done" else Missing(_STATES.get(state, state))

    return _read_each(study_runs(plan), read_if_finished)


def _later_interventions(store: Store, run: str) -> Mapping[str, Any] | None:
    path = store.derived(run) / "interventions.json"
    try:
        data: dict[str, Any] = files.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    schemas.check_interventions(data, path)
    return data


def _read_each(runs: Iterable[StudyRun], read: Callable[[StudyRun], T | Missing]) -> RunRecordings[T]:
    found: dict[StudyRun, T] = {}
    missing: dict[StudyRun, Missing] = {}
    for run in runs:
        value = read(run)
        if isinstance(value, Missing):
            missing[run] = value
        else:
            found[run] = value
    return RunRecordings(found, missing)


def before_and_after(traces: Mapping[StudyRun, TrainingTrace]) -> tuple[dict[StudyRun, Layers], dict[StudyRun, Layers]]:
    """Return the layers of runs before training and after its last step, on the same examples."""
    several = {run: trace.layers for run, trace in traces.items() if len(trace.layers) > 1}
    return {run: each[0] for run, each in several.items()}, {run: each[-1] for run, each in several.items()}
