"""Sends a study from the store to trackers: what its runs have logged, and their comparison.

It reads the store alone, so runs may be killed and resumed at any time. A finished run that was sent leaves a receipt
in `derived/<cell>/s<seed>/tracking/STUDY.json`, the comparison one in `studies/STUDY/tracking.json`; what has a receipt
is not sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab import files
from mtlab.config.hashing import digest
from mtlab.errors import UserError, one_line
from mtlab.recording import reader
from mtlab.recording.reader import Layers, Worth
from mtlab.report import recordings
from mtlab.report.figures import render
from mtlab.report.recordings import StudyRun
from mtlab.report.study_report import build_report
from mtlab.report.sync import figures, run_data, tables
from mtlab.report.sync.run_data import StepMetrics, read_complete_steps, read_step_metrics
from mtlab.runs.store import Store, is_sweep
from mtlab.tracking.base import Receipt, Sink, TrackedRun, TrackerFigure, TrackerGroup, TrackerMedia

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COMPARED = (
    "rows",
    "seeds",
    "metrics",
    "test",
    "correct",
    "alpha",
    "equivalence",
    "floor",
    "sequential",
)  #: keys of a plan that a comparison depends on
Progress = Callable[[dict[str, Any]], None]  #: takes the fields of `mtlab.report.sync.process.SyncProgress`


@dataclass
class Received:
    """What a sink has of a study."""

    done: int = 0
    new: int = 0
    place: str = ""  #: of the first run
    offline: bool = False  #: written as files that are to be sent later


@dataclass(eq=False)
class StudySync:
    """Sends a study to sinks: finished runs whole, running ones step by step to live sinks."""

    store: Store
    plan: Mapping[str, Any]
    sinks: Sequence[Sink]
    log: Callable[[str], None]  #: prints a line for the user
    _: KW_ONLY
    progress: Progress = lambda *_: None  #: called with the number of runs sent

    def __post_init__(self) -> None:
        self.runs = self._own_runs()
        self.open: dict[str, TrackerGroup] = {}
        self.sent: dict[str, int] = {}  #: run → last step that was sent
        self.closed: set[str] = set()  #: runs that were sent, or given up
        self.failures: Counter[tuple[str, str]] = Counter()  #: (sink, reason) → runs
        self.done = self.new = 0
        self.over = False  #: is what is finished by now all that is sent?
        self.received = {sink.name: Received() for sink in self.sinks}
        states = self.store.states(self.plan) if is_sweep(self.plan) else {}
        #: Trials that were pruned or cut off: they have steps and no end, which is not waited for.
        self.cut = {run for run, state in states.items() if state == "interrupted"}
        for sink in self.sinks:
            if sink.is_lost():
                self._forget(sink)
        wanted = [sink.images for sink in self.sinks]
        #: Whether figures are rendered; None: if they can be.
        self.images: bool | None = True if True in wanted else None if None in wanted else False

    def poll(self) -> None:
        """Send what is new since the last call; once the study is over, no more of runs that go on elsewhere."""
        if self.plan["sequential"]:  # its runs are asked for look by look
            self.plan = self.store.plan(self.plan["study"])
            self.runs = self._own_runs()
        for run in [run for run in self.runs if run not in self.closed]:
            if (self.store.run(run) / "result.json").exists():
                self._each(run, self._finish)
            elif run in self.open or ((not self.over or run in self.cut) and any(sink.live for sink in self.sinks)):
                self._each(run, self._advance)

    def finish(self) -> None:
        """Send what is left, failed runs as such, close runs that will not go on, and send the comparison."""
        self.over = True
        self.poll()
        for run in [run for run in self.runs if run not in self.closed]:
            if (failure := self.store.failure(run)) is not None:
                self._each(run, partial(self._send_failed, failure=failure))
        for run, trackers in list(self.open.items()):
            trackers.close({}, {}, failed=run not in self.cut)
            del self.open[run]
        try:
            self._compare()
        except UserError as error:
            self.log(f"the comparison was not sent: {error}")
        for (sink, why), number in self.failures.items():
            if number > 1:
                self.log(f"{sink}: {number - 1} more not sent: {why}")

    # Runs

    def _each(self, run: str, send: Callable[[str], None]) -> None:
        """Send a run; of one that cannot be read, such as a damaged one, a line is logged, and others are sent."""
        try:
            send(run)
        except UserError as error:
            self.closed.add(run)
            planned = self.runs[run]
            self.log(f"{planned['label']}, seed {planned['seed']} was not sent: {error}")

    def _forget(self, sink: Sink) -> None:
        """Drop the receipts of a sink whose copy is gone: all is sent again."""
        study = self.store.study(self.plan["study"])
        for path in [study / "tracking.json", *(self._receipts_file(run) for run in self.runs)]:
            known = _read(path)
            receipts = _receipts(known)
            if sink.name in receipts:
                rest = {name: receipt for name, receipt in receipts.items() if name != sink.name}
                files.write_json(path, {**known, "receipts": rest})

    def _receipts_file(self, run: str) -> Path:
        return self.store.derived(run) / "tracking" / f"{self.plan['study']}.json"

    def _measured(self, run: str) -> str | None:
        """Digest what is measured of a finished run later, by `mtlab intervene`; None before."""
        found = _read(self.store.derived(run) / "interventions.json")
        return digest(found) if found else None

    def _own_runs(self) -> dict[str, Mapping[str, Any]]:
        """Return the runs of the plan, but for parents of other studies."""
        study = self.plan["study"]
        return {run["id"]: run for run in self.plan["runs"] if run.get("study", study) == study}

    def _advance(self, run: str) -> None:
        """Send the new steps of an unfinished run; a stopped run stays open until it is resumed."""
        steps = read_complete_steps(self.store, run)
        new = [step for step in steps if step > self.sent.get(run, -1)]
        if not new:
            return
        if run not in self.open:
            self.open[run] = self._start(run, [sink for sink in self.sinks if sink.live])
        for step in new:
            self.open[run].log(step, steps[step], {})
        self.sent[run] = max(new)

    def _finish(self, run: str) -> None:
        """Send all that is missing of a finished run, and keep the receipts."""
        self.closed.add(run)
        path, of = self._receipts_file(run), self._measured(run)
        known = _read(path)
        receipts = _receipts(known) if known.get("of") == of else {}
        lacking = [sink for sink in self.sinks if not sink.holds(receipts.get(sink.name, {}))]
        groups = self._groups(run, lacking)
        given: dict[str, Receipt] = {}
        if groups:
            steps, media = read_step_metrics(self.store, run), self._run_media(run)
            best = self.store.run(run) / "checkpoints" / "best.safetensors"
            kept = {"best.safetensors": best} if best.is_file() else {}
            for group in groups:
                _log_steps(group, steps, media)
                given |= group.close(run_data.run_summary(self.store, run, test=not is_sweep(self.plan)), kept)
        if given:
            files.write_json(path, {"format": 1, "of": of, "receipts": {**receipts, **given}})
        self._report_progress(receipts, given, lacking)

    def _send_failed(self, run: str, failure: Mapping[str, Any]) -> None:
        """Send what a failed run has logged, and why it failed; without a receipt, as it may be run again."""
        steps = read_step_metrics(self.store, run)
        for group in self._groups(run, self.sinks):
            _log_steps(group, steps, {})
            group.close({"failure": str(failure.get("kind")), "error": str(failure.get("error"))}, {}, failed=True)

    def _groups(self, run: str, sinks: Sequence[Sink]) -> list[TrackerGroup]:
        """Take the trackers that a run is open in, and start it in those of the sinks that are not among them."""
        groups = [self.open.pop(run)] if run in self.open else []
        rest = [sink for sink in sinks if not any(sink.name in group.names for group in groups)]
        return [*groups, self._start(run, rest)] if rest else groups

    def _report_progress(
        self, known: Mapping[str, Receipt], given: Mapping[str, Receipt], lacking: Sequence[Sink]
    ) -> None:
        """Count what was sent, and report the progress."""
        receipts = {**known, **given}
        complete = all(sink.name in given for sink in lacking)
        self.done += complete
        self.new += complete and bool(lacking)
        for sink in self.sinks:
            received, new = self.received[sink.name], sink.name in given
            if sink in lacking and not new:
                continue
            received.done += 1
            received.new += new
            received.place = received.place or sink.place(receipts[sink.name])
            received.offline = received.offline or receipts[sink.name].get("mode") == "offline"
        self.progress(
            {
                "done": self.done,
                "of": self._count() + 1,
                "new": self.new,
                "sinks": {name: asdict(received) for name, received in self.received.items()},
            }
        )

    def _count(self) -> int:
        """Count the runs that are to be sent."""
        if not self.over:
            return len(self.runs) - len(self.cut)
        return sum((self.store.run(run) / "result.json").exists() for run in self.runs)

    def _start(self, run: str, sinks: Sequence[Sink]) -> TrackerGroup:
        planned = self.runs[run]
        name = f"{planned['label']}, seed {planned['seed']}"
        why = str(self.plan["why"])
        params = run_data.run_params(self.store, self.plan, planned)
        manager = (params.get("manager") or {}).get("name")
        about = TrackedRun(
            self._id(run),
            self.plan["study"],
            name,
            "run",
            why,
            group=planned["label"],
            tags=(self.plan["study"], *([manager] if manager else [])),
            started=run_data.run_started(self.store, run),
        )
        group = self._open(sinks, about)
        group.params(params)
        return group

    def _open(self, sinks: Sequence[Sink], about: TrackedRun) -> TrackerGroup:
        """Start a run in several sinks; each error of a sink is logged once, however many runs it concerns."""

        def failed(sink: str, error: Exception) -> None:
            why = one_line(error, 200)
            self.failures[sink, why] += 1
            if self.failures[sink, why] == 1:
                self.log(f"{sink}: {about.name} was not sent: {why}")

        keep_files = [sink.name for sink in sinks if sink.checkpoints]
        no_images = [sink.name for sink in sinks if sink.images is False]
        group = TrackerGroup({sink.name: sink.tracker() for sink in sinks}, failed, keep_files, no_images)
        group.start(about)
        return group

    def _id(self, what: str) -> str:
        """Return the id of a run in trackers: each study has its own, as studies share runs."""
        return digest([self.plan["study"], what])

    def _run_media(self, run: str) -> dict[str, TrackerMedia]:
        planned = self.runs[run]
        label = StudyRun(planned["label"], planned["seed"], run)
        media = self._render(figures.run_figures(self.store, self.plan, planned))
        layers, worth = reader.read_layers(self.store.run(run)), recordings.run_worth(self.store, run)
        if isinstance(layers, Layers):
            table = tables.layers_table({label: layers}, {label: worth} if isinstance(worth, Worth) else {})
            media |= {} if table is None else {tables.LAYERS: table}
        return media

    # The comparison

    def _compare(self) -> None:
        """Send the comparison of the study, unless it was sent already."""
        done = {run: result for run in self.runs if (result := self.store.result(run)) is not None}
        if not done:
            return
        path = self.store.study(self.plan["study"]) / "tracking.json"
        measured = [self._measured(run) for run in done]
        now, known = digest([done, measured, *(self.plan[key] for key in _COMPARED)]), _read(path)
        receipts: dict[str, Receipt] = known.get("receipts", {}) if known.get("of") == now else {}
        lacking = [sink for sink in self.sinks if not sink.holds(receipts.get(sink.name, {}))]
        given: dict[str, Receipt] = {}
        if lacking:
            report = build_report(self.store, self.plan)
            about = TrackedRun(
                self._id("comparison"),
                self.plan["study"],
                "comparison",
                "comparison",
                report.why,
                tags=(self.plan["study"],),
            )
            group = self._open(lacking, about)
            group.params(
                {"study": self.plan["study"], "why": report.why, "design": report.design, "metric": report.metric}
            )
            media: dict[str, TrackerMedia] = {
                tables.COMPARISON: tables.comparison_table(report),
                **self._layers_table(),
            }
            numbers = {f"comparison/{row.label}": row.mean.mean for row in report.rows if row.mean is not None}
            media |= self._render(figures.study_figures(self.store, self.plan, report))
            group.log(known.get("version", 0) + 1, numbers, media)
            given = group.close({**numbers, "runs": len(done), "notes": "\n".join(report.notes)}, {})
            if given:
                kept = {"format": 1, "of": now, "version": known.get("version", 0) + 1}
                files.write_json(path, {**kept, "receipts": {**receipts, **given}})
        self._report_progress(receipts, given, lacking)

    def _layers_table(self) -> dict[str, TrackerMedia]:
        layers = recordings.study_layers(self.store, self.plan).found
        table = tables.layers_table(layers, recordings.study_worths(self.store, self.plan).found)
        return {} if table is None else {tables.ALL_LAYERS: table}

    # Figures

    def _render(self, drawn: Mapping[str, go.Figure]) -> dict[str, TrackerMedia]:
        """Prepare figures for trackers, with images where they can be rendered."""
        images: Sequence[bytes | None] = [None] * len(drawn)
        if self.images is not False and drawn:
            try:
                images = render.render_images([(figure, "png") for figure in drawn.values()])
            except Exception as error:  # a browser may fail in many ways; the figures themselves are sent
                required, self.images = self.images, False
                if required or not isinstance(error, UserError):
                    why = str(error) if isinstance(error, UserError) else one_line(error, 120, kind=True)
                    self.log(f"figures are sent without pictures: {why}")
        pairs = zip(drawn.items(), images, strict=True)
        return {name: TrackerFigure(figure, png) for (name, figure), png in pairs}


def _log_steps(group: TrackerGroup, steps: StepMetrics, media: Mapping[str, TrackerMedia]) -> None:
    """Log all steps of a run that has ended; media come with the last one."""
    last = max(steps, default=0)
    for step, values in steps.items():
        if step < last:
            group.log(step, values, {})
    group.log(last, steps.get(last, {}), media)


def _receipts(known: Mapping[str, Any]) -> dict[str, Receipt]:
    receipts = known.get("receipts")
    return receipts if isinstance(receipts, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        data = files.read_json(path)
    except (FileNotFoundError, NotADirectoryError, UserError):  # a damaged file is written anew
        return {}
    return data if isinstance(data, dict) else {}
