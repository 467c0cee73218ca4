"""The data behind the pages: studies, runs, recordings and reports, computed again only when files have changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from mtlab.dashboard.cached_store import CachedStore, file_state
from mtlab.dashboard.summaries import DAMAGED, OrphanRun, RunSummary, StudySummary, summarize_run
from mtlab.errors import UserError
from mtlab.launch.exit_status import RunFailure
from mtlab.launch.slurm.pending import QueueCache
from mtlab.launch.slurm.queue import JobId
from mtlab.launch.status import RunCondition, last_ends, run_conditions
from mtlab.recording import reader, run_dataset
from mtlab.recording.reader import LAYERS, TRACE, Layers, Missing, TrainingTrace
from mtlab.report import recordings
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.formats.run_again import go_on
from mtlab.report.recordings import RunRecordings
from mtlab.report.study_report import StudyReport, build_report
from mtlab.runs.store import Store, is_sweep

if TYPE_CHECKING:
    from mtlab.data.base import Dataset

T = TypeVar("T")
MAX_AGE = 0.5  #: seconds, see `DashboardData`
QUEUE_SECONDS, RETRY_SECONDS = 10.0, 60.0  #: between queries of a cluster's queue, and after one that failed
PAUSE = 0.3  #: seconds before a verdict is computed, so that the page that needs it is served first


class DashboardData:
    """What pages read from a store. Thread-safe.

    Args:
        root: the folder of the store.
        max_age: seconds for which the summary of a study is reused, as one page reads it more than once.

    Raises:
        UserError: it is no store.

    """

    def __init__(self, root: Path, *, max_age: float = MAX_AGE) -> None:
        self.store = CachedStore.open(root)
        self._max_age = max_age
        self._queue = QueueCache(max_age=QUEUE_SECONDS, retry_after=RETRY_SECONDS)
        self._summaries: dict[str, tuple[float, StudySummary]] = {}
        self._verdicts: dict[str, tuple[Any, str]] = {}
        self._report_states: dict[str, tuple[StudySummary, Any]] = {}
        self._pending: dict[str, tuple[Any, Future[None]]] = {}
        self._summarizing, self._building = Lock(), Lock()
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reports")
        self._background.submit(self._warm)

    def close(self) -> None:
        """Stop the background thread."""
        self._background.shutdown(wait=False, cancel_futures=True)

    def _warm(self) -> None:
        """Read what the first page would wait for."""
        with suppress(UserError, OSError):  # the page shows it
            self.studies()

    # Studies

    def studies(self) -> list[StudySummary]:
        """Summarize all studies, the one that changed last first."""
        Store.open(self.store.root)  # raises if the store was removed
        found = [self._study_or_problem(name) for name in self.store.study_names()]
        return sorted(found, key=lambda summary: (-(summary.changed or 0), summary.name))

    def study(self, name: str) -> StudySummary:
        """Summarize a study; a damaged plan is its `problem`.

        Raises:
            UserError: no such study.

        """
        with self._summarizing:  # the first page waits for `_warm`, instead of reading all files beside it
            seen = self._summaries.get(name)
            if seen is not None and time.monotonic() - seen[0] < self._max_age:
                return seen[1]
            path = self.store.study(name) / "plan.json"
            if not path.is_file():
                self.store.plan(name)  # raises and suggests the nearest name
            found = self._summarize(name, path)
            self._summaries[name] = (time.monotonic(), found)
            return found

    def _study_or_problem(self, name: str) -> StudySummary:
        """Summarize a study; a folder whose name is no study's is a `problem`."""
        try:
            return self.study(name)
        except UserError as error:
            return StudySummary(name, "", "", (), None, f"this study cannot be read: {error}")

    def _summarize(self, name: str, path: Path) -> StudySummary:
        try:
            plan = self.store.plan(name)
            ((states, jobs),) = run_conditions(self.store, [plan], self._queue)
            ends = last_ends(self.store, name)
            runs = tuple(
                self._run_summary(name, plan, run, states, ends.get(run["id"]), jobs.get(run["id"]))
                for run in plan["runs"]
            )
        except (UserError, OSError) as error:
            return StudySummary(name, "", "", (), _modified(path), f"this study cannot be read: {error}")
        times = [each for each in (_modified(path), *(run.changed for run in runs)) if each is not None]
        return StudySummary(
            name=name,
            why=plan["why"],
            metric=plan["metrics"]["choose"],
            runs=runs,
            changed=max(times, default=None),
            sweep=is_sweep(plan),
            command=go_on(plan, self.store),
        )

    def report(self, summary: StudySummary) -> StudyReport:
        """Compare a study's variants.

        Raises:
            UserError: a file that the comparison needs is damaged.

        """
        with self._building:  # of two simultaneous requests the second finds it in the cache
            return self.store.cache.get(
                ("report", summary.name),
                self._report_state(summary),
                lambda: build_report(self.store, self.store.plan(summary.name)),
            )

    def layers(self, plan: Mapping[str, Any]) -> RunRecordings[Layers]:
        """Read which layers the finished runs of a plan used."""
        return recordings.read_finished_runs(
            self.store, plan, lambda run: self._recorded(run.run, LAYERS, reader.read_layers)
        )

    def traces(self, plan: Mapping[str, Any]) -> RunRecordings[TrainingTrace]:
        """Read how the use of layers evolved over training."""
        return recordings.read_finished_runs(
            self.store, plan, lambda run: self._recorded(run.run, TRACE, reader.read_trace)
        )

    def finished(self, run: str, name: str, read: Callable[[Path], T | Missing]) -> T | Missing:
        """Read a recording of one run, the file `name` of its folder."""
        if self.store.state(run) != "done":
            return Missing("the run is not finished: it is recorded at its end")
        return self._recorded(run, name, read)

    def dataset(self, run: str) -> Dataset | Missing:
        """Open the data set of a run; runs on the same data share it."""
        config = self.store.config(run)
        key = "data", run_dataset.describe_data(config)
        found = self.store.cache.get(key, None, lambda: run_dataset.open_dataset(config))
        if isinstance(found, Missing):  # it may be there later
            self.store.cache.forget(key)
        return found

    def _recorded(self, run: str, name: str, read: Callable[[Path], T]) -> T:
        folder = self.store.run(run)
        return self.store.cache.get((read, run), file_state(folder / name), lambda: read(folder))

    def verdict(self, summary: StudySummary, wait: float = 0.0) -> str | None:
        """Return the verdict of a study in a sentence; None before the first one is there.

        It is computed in the background; until then the last one is returned.

        Args:
            summary: the study.
            wait: seconds to wait for a new verdict.

        """
        if summary.problem:
            return summary.problem
        if summary.sweep:  # trials are not compared with one another, least of all on test data
            if not summary.runs:
                return f"A search that has not begun: {summary.command} begins it."
            return "A search for the best settings of each variant."
        state = self._report_state(summary)
        known = self._verdicts.get(summary.name)
        if known is None or known[0] != state:
            before, future = self._pending.get(summary.name, (None, None))
            if future is None or before != state:
                future = self._background.submit(self._compute_verdict, summary, state, 0.0 if wait else PAUSE)
                self._pending[summary.name] = (state, future)
            with suppress(TimeoutError):
                future.result(timeout=wait)
            known = self._verdicts.get(summary.name)
        return None if known is None else known[1]

    def _compute_verdict(self, summary: StudySummary, state: Any, pause: float) -> None:
        time.sleep(pause)
        try:
            verdict = verdict_sentence(self.report(summary))
        except UserError as error:
            verdict = f"No comparison: {error}"
        except Exception as error:
            verdict = f"No comparison: {type(error).__name__}: {error}"
        self._verdicts[summary.name] = (state, verdict)

    def _report_state(self, summary: StudySummary) -> Any:
        """Return what a report depends on: the plan, the condition of each run, and the files of finished ones."""
        known = self._report_states.get(summary.name)
        if known is not None and known[0] is summary:
            return known[1]
        plan = file_state(self.store.study(summary.name) / "plan.json")
        ended = {run.id for run in summary.runs if run.condition in ("done", DAMAGED)}
        runs = ((run, self.store.compared_files(run.id) if run.id in ended else None) for run in summary.runs)
        state = plan, hash(tuple((run.id, run.condition, files) for run, files in runs))
        self._report_states[summary.name] = summary, state
        return state

    def _run_summary(
        self,
        study: str,
        plan: Mapping[str, Any],
        run: Mapping[str, Any],
        states: Mapping[str, RunCondition],
        end: RunFailure | None,
        job: JobId | None,
    ) -> RunSummary:
        def make() -> RunSummary:
            return summarize_run(self.store, plan, run, states, end, job)

        if states[run["id"]] != "done":
            return make()
        depends_on = (
            file_state(self.store.study(study) / "plan.json"),
            self.store.compared_files(run["id"]),
        )
        return self.store.cache.get(("run", study, run["id"]), depends_on, make)

    # Runs

    def orphans(self) -> list[OrphanRun]:
        """List the runs that belong to no study, and folders among the runs that are no runs."""
        members, found = self._studies_by_run(), []
        for folder in sorted((self.store.root / "cells").glob("*/*")):
            name = f"{folder.parent.name}/{folder.name}"
            if not folder.name.startswith(".") and name not in members:
                found.append(OrphanRun(name, self._orphan(name)))
        return found

    def studies_of(self, run: str) -> list[str]:
        """Return the names of the studies that a run belongs to."""
        return self._studies_by_run().get(run, [])

    def run(self, run: str, study: str = "") -> RunSummary:
        """Summarize a run.

        Args:
            run: `<cell>/s<seed>`.
            study: the preferred one of several that it belongs to.

        Raises:
            UserError: no such run.

        """
        for name in sorted(self.studies_of(run), key=lambda name: name != study):
            for summary in self.study(name).runs:
                if summary.id == run:
                    return summary
        found = self._orphan(run)
        if found is None:
            raise UserError(f"there is no run {run!r} in this store")
        return found

    def _orphan(self, run: str) -> RunSummary | None:
        """Summarize a run outside of studies; None if the folder is no run's."""
        try:
            if not self.store.run(run).is_dir():
                return None
        except (ValueError, OSError):  # not the name of a run
            return None
        config = self.store.config(run) or {}
        cell, seed = run.split("/")
        own = config.get("config") or {}
        length, metrics = (own.get("train") or {}).get("length") or {}, own.get("metrics") or {}
        entry = {"id": run, "cell": cell, "seed": int(seed[1:]), "label": str(config.get("label", cell)), "parents": []}
        metrics = {"choose": "val/accuracy", "mode": "max"} | metrics
        plan = {"metrics": metrics, "directions": {metrics["choose"]: metrics["mode"]}}
        return summarize_run(self.store, plan, entry | {"cost": length}, {run: self.store.state(run)}, None)

    def _studies_by_run(self) -> dict[str, list[str]]:
        members: dict[str, list[str]] = {}
        for name in self.store.study_names():
            try:
                runs = self.store.plan(name)["runs"]
            except UserError:  # the page of studies shows it
                continue
            for run in runs:
                members.setdefault(run["id"], []).append(name)
        return members


def _modified(path: Path) -> float | None:
    found = file_state(path)
    return None if found is None else found[0] / 1e9
