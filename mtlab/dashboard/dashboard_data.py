"""What the pages show of the store: studies, runs and reports, worked out again only where something has changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from mtlab.dashboard.cached_store import CachedStore, file_state
from mtlab.dashboard.summaries import OrphanRun, RunSummary, StudySummary, summarize_run
from mtlab.errors import UserError
from mtlab.launch.slurm.pending import QueueCache
from mtlab.launch.status import RunCondition, last_ends, run_conditions
from mtlab.recording import reader, run_dataset
from mtlab.recording.reader import LAYERS, TOKENS, TRACE, Layers, Missing, Tokens, TrainingTrace
from mtlab.report import recordings
from mtlab.report.recordings import RunRecordings
from mtlab.runs.store import Store

if TYPE_CHECKING:
    from mtlab.data.base import Dataset
    from mtlab.report.study_report import StudyReport

T = TypeVar("T")
FRESH = 0.5  #: seconds, see `DashboardData`
QUEUE, SILENCE = 10.0, 60.0  #: seconds between questions to a cluster's queue, and to one that did not answer
PAUSE = 0.3  #: seconds before a verdict is worked out: the page that asked for it goes first


class DashboardData:
    """All that pages ask of a store. May be asked from several threads.

    Args:
        root: the folder of the store.
        fresh: seconds for which what was seen of a study is not looked at again, as one page asks more than once.

    Raises:
        UserError: it is no store.

    """

    def __init__(self, root: Path, *, fresh: float = FRESH) -> None:
        self.store = CachedStore.open(root)
        self._fresh = fresh
        self._queue = QueueCache(fresh=QUEUE, silence=SILENCE)
        self._seen: dict[str, tuple[float, StudySummary]] = {}
        self._verdicts: dict[str, tuple[Any, str]] = {}
        self._asked: dict[str, tuple[Any, Future[None]]] = {}
        self._building = Lock()
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reports")
        self._background.submit(self._warm)

    def close(self) -> None:
        """Stop what goes on in the background."""
        self._background.shutdown(wait=False, cancel_futures=True)

    def _warm(self) -> None:
        """Read and import what the first pages would wait for."""
        with suppress(UserError, OSError):  # the page itself tells
            self.studies()
        from mtlab.report import study_report  # noqa: F401
        from mtlab.report.figures.layers import aggregation  # noqa: F401

    # Studies

    def studies(self) -> list[StudySummary]:
        """Tell how all studies stand, the one that changed last first."""
        Store.open(self.store.root)  # raises, if it is gone since
        found = [self._whatever(name) for name in self.store.study_names()]
        return sorted(found, key=lambda card: (-(card.changed or 0), card.name))

    def study(self, name: str) -> StudySummary:
        """Tell how a study stands; one whose plan is damaged says so.

        Raises:
            UserError: no such study.

        """
        seen = self._seen.get(name)
        if seen is not None and time.monotonic() - seen[0] < self._fresh:
            return seen[1]
        path = self.store.study(name) / "plan.json"
        if not path.is_file():
            self.store.plan(name)  # raises, and offers the nearest
        found = self._look_at(name, path)
        self._seen[name] = (time.monotonic(), found)
        return found

    def _whatever(self, name: str) -> StudySummary:
        """Tell how a study stands, whatever its folder is called."""
        try:
            return self.study(name)
        except UserError as error:
            return StudySummary(name, "", "", (), None, f"this study cannot be read: {error}")

    def _look_at(self, name: str, path: Path) -> StudySummary:
        try:
            plan = self.store.plan(name)
            ((states, jobs),) = run_conditions(self.store, [plan], self._queue)
            ends = last_ends(self.store, name)
            runs = tuple(
                self._card(name, plan, run, states, ends.get(run["id"]), jobs.get(run["id"])) for run in plan["runs"]
            )
        except (UserError, OSError) as error:
            return StudySummary(name, "", "", (), _written(path), f"this study cannot be read: {error}")
        times = [moment for moment in (_written(path), *(run.changed for run in runs)) if moment is not None]
        return StudySummary(
            name=name,
            why=str(plan.get("why", "")),
            metric=plan["metrics"]["choose"],
            runs=runs,
            changed=max(times, default=None),
            sweep=plan.get("kind") == "sweep",
            file=str(plan.get("spec_file") or ""),
        )

    def report(self, card: StudySummary) -> StudyReport:
        """Compare a study's variants.

        Raises:
            UserError: a file that the comparison needs is damaged.

        """
        from mtlab.report.study_report import build_report

        with self._building:  # the second of two that ask at once finds it made
            return self.store.kept.made(
                ("report", card.name),
                self._finished(card),
                lambda: build_report(self.store, self.store.plan(card.name)),
            )

    def layers(self, plan: Mapping[str, Any]) -> RunRecordings[Layers]:
        """Gather which layers the finished runs of a plan used."""
        return recordings.read_finished_runs(
            self.store, plan, lambda source: self._recorded(source.run, LAYERS, reader.read_layers)
        )

    def traces(self, plan: Mapping[str, Any]) -> RunRecordings[TrainingTrace]:
        """Gather how the use of layers evolved over training."""
        return recordings.read_finished_runs(
            self.store, plan, lambda source: self._recorded(source.run, TRACE, reader.read_trace)
        )

    def layers_of(self, run: str) -> Layers | Missing:
        """Read which layers one finished run used."""
        if self.store.state(run) != "done":
            return Missing("the run is not finished: its layers are recorded at its end")
        return self._recorded(run, LAYERS, reader.read_layers)

    def trace_of(self, run: str) -> TrainingTrace | Missing:
        """Read how one finished run came to use its layers."""
        if self.store.state(run) != "done":
            return Missing("the run is not finished: its training is recorded at its end")
        return self._recorded(run, TRACE, reader.read_trace)

    def tokens(self, run: str) -> Tokens | Missing:
        """Read what was recorded of single tokens in a finished run."""
        if self.store.state(run) != "done":
            return Missing("the run is not finished: single tokens are recorded at its end")
        return self._recorded(run, TOKENS, reader.read_tokens)

    def world(self, run: str) -> Dataset | Missing:
        """Make the data set of a run; runs on the same data share it."""
        config = self.store.config(run) or {}
        node = json.dumps((config.get("config") or {}).get("data"), sort_keys=True)
        return self.store.kept.made(("data", node), None, lambda: run_dataset.open_dataset(config))

    def _recorded(self, run: str, name: str, read: Callable[[Path], T]) -> T:
        folder = self.store.run(run)
        return self.store.kept.made((read, run), file_state(folder / name), lambda: read(folder))

    def verdict(self, card: StudySummary, wait: float = 0.0) -> str | None:
        """Say what a study has shown. It is worked out in the background; until then the last word stands.

        Args:
            card: the study.
            wait: seconds that may pass first.

        """
        if card.problem:
            return card.problem
        if card.sweep:  # its trials are not compared with one another, least of all on test data
            return f"A search: mtlab sweep report {card.name} tells what it has found for each variant."
        state = self._finished(card)
        known = self._verdicts.get(card.name)
        if known is None or known[0] != state:
            before, going = self._asked.get(card.name, (None, None))
            if going is None or before != state:
                going = self._background.submit(self._judge, card, state, 0.0 if wait else PAUSE)
                self._asked[card.name] = (state, going)
            with suppress(TimeoutError):
                going.result(timeout=wait)
            known = self._verdicts.get(card.name)
        return None if known is None else known[1]

    def _judge(self, card: StudySummary, state: Any, pause: float) -> None:
        from mtlab.report.verdict import verdict_sentence

        time.sleep(pause)
        try:
            told = verdict_sentence(self.report(card))
        except UserError as error:
            told = f"No comparison: {error}"
        except Exception as error:
            told = f"No comparison: {type(error).__name__}: {error}"
        self._verdicts[card.name] = (state, told)

    def _finished(self, card: StudySummary) -> Any:
        """What a report is made of: the plan, and which runs stand how."""
        plan = file_state(self.store.study(card.name) / "plan.json")
        return plan, hash(tuple((run.id, run.condition) for run in card.runs))

    def _card(
        self,
        study: str,
        plan: Mapping[str, Any],
        run: Mapping[str, Any],
        states: Mapping[str, RunCondition],
        end: str | None,
        job: int | None,
    ) -> RunSummary:
        def make() -> RunSummary:
            return summarize_run(self.store, plan, run, states, end, job)

        if states[run["id"]] != "done":
            return make()
        made_of = (
            file_state(self.store.study(study) / "plan.json"),
            file_state(self.store.run(run["id"]) / "result.json"),
        )
        return self.store.kept.made(("card", study, run["id"]), made_of, make)

    # Runs

    def strays(self) -> list[OrphanRun]:
        """Tell of the runs that belong to no study, and of folders among the runs that are none."""
        members, found = self._members(), []
        for folder in sorted((self.store.root / "cells").glob("*/*")):
            name = f"{folder.parent.name}/{folder.name}"
            if not folder.name.startswith(".") and name not in members:
                found.append(OrphanRun(name, self._alone(name)))
        return found

    def studies_of(self, run: str) -> list[str]:
        """Name the studies that a run belongs to."""
        return self._members().get(run, [])

    def run(self, run: str, study: str = "") -> RunSummary:
        """Tell how a run stands.

        Args:
            run: `<cell>/s<seed>`.
            study: the study that it is looked at from, where it belongs to several.

        Raises:
            UserError: no such run.

        """
        for name in sorted(self.studies_of(run), key=lambda name: name != study):
            for card in self.study(name).runs:
                if card.id == run:
                    return card
        found = self._alone(run)
        if found is None:
            raise UserError(f"there is no run {run!r} in this store")
        return found

    def _alone(self, run: str) -> RunSummary | None:
        """Tell how a run of no study stands; None if it is no run's folder."""
        try:
            if not self.store.run(run).is_dir():
                return None
        except (ValueError, OSError):  # no name of a run
            return None
        config = self.store.config(run) or {}
        cell, seed = run.split("/")
        length = ((config.get("config") or {}).get("train") or {}).get("length") or {}
        entry = {"id": run, "cell": cell, "seed": int(seed[1:]), "label": str(config.get("label", cell)), "parents": []}
        plan = {"metrics": {"choose": "val/accuracy", "mode": "max"}}
        return summarize_run(self.store, plan, entry | {"cost": length}, {run: self.store.state(run)}, None)

    def _members(self) -> dict[str, list[str]]:
        members: dict[str, list[str]] = {}
        for name in self.store.study_names():
            try:
                runs = self.store.plan(name)["runs"]
            except UserError:  # the studies' page tells
                continue
            for run in runs:
                members.setdefault(run["id"], []).append(name)
        return members


def _written(path: Path) -> float | None:
    found = file_state(path)
    return None if found is None else found[0] / 1e9
