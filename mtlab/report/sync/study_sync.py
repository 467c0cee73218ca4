"""From the store to trackers: whatever a study's runs have logged, however often they were killed and resumed.

Works from the store alone, so that it does not matter who wrote it, when, or whether somebody was looking. A finished
run that was taken leaves a receipt in `derived/<cell>/s<seed>/tracking/STUDY.json`, the comparison one in
`studies/STUDY/tracking.json`: what has a receipt is not sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab import files
from mtlab.config.hashing import digest
from mtlab.errors import UserError
from mtlab.recording import reader
from mtlab.recording.reader import Layers, Worth
from mtlab.report import recordings
from mtlab.report.recordings import StudyRun
from mtlab.report.sync import content, tables
from mtlab.report.sync.plain import with_plain_lists
from mtlab.report.sync.step_metrics import StepMetrics, read_complete_steps, read_step_metrics
from mtlab.runs.store import Store
from mtlab.tracking.base import Receipt, Sink, TrackedRun, TrackerFigure, TrackerGroup, TrackerMedia

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COMPARED = ("rows", "seeds", "metrics", "test", "correct", "alpha")  #: of a plan: what a comparison rests on
Progress = Callable[[dict[str, Any]], None]  #: is given the fields of `mtlab.report.sync.process.Sent`


class StudySync:
    """Hands a study to sinks: finished runs whole, running ones step by step where a sink wants them.

    Args:
        store: where the runs are.
        plan: the study's stored plan.
        sinks: where they go.
        tell: is given a line for the user.
        images: draw figures as pictures too; None: if that can be done here.
        checkpoints: hand on the best checkpoints.
        progress: is told how many runs are taken.

    """

    def __init__(
        self,
        store: Store,
        plan: Mapping[str, Any],
        sinks: Sequence[Sink],
        tell: Callable[[str], None],
        *,
        images: bool | None = None,
        checkpoints: bool = False,
        progress: Progress = lambda *_: None,
    ) -> None:
        self.store = store
        self.plan = plan
        self.sinks = sinks
        self.tell = tell
        self.images = images is not False
        self.insists = bool(images)  #: is the user told if there can be no pictures?
        self.checkpoints = checkpoints
        self.progress = progress
        self.runs = {run["id"]: run for run in plan["runs"] if run.get("study", plan["study"]) == plan["study"]}
        self.open: dict[str, TrackerGroup] = {}
        self.sent: dict[str, int] = {}  #: run → the step that it was sent up to
        self.over: set[str] = set()  #: runs that were taken, or given up
        self.lost: Counter[tuple[str, str]] = Counter()  #: sink and reason → runs
        self.taken = self.new = 0
        self.places: dict[str, None] = {}
        self.offline = False

    def look(self) -> None:
        """Send what has come since the last look."""
        for run in [run for run in self.runs if run not in self.over]:
            if (self.store.run(run) / "result.json").exists():
                self._finish(run)
            elif any(sink.live for sink in self.sinks) or run in self.open:
                self._advance(run)

    def end(self) -> None:
        """Send what is left, end what will not go on, and compare the study's runs."""
        self.look()
        for run, fan in list(self.open.items()):
            fan.close({}, {}, failed=True)
            del self.open[run]
        self._compare()
        for (sink, why), number in self.lost.items():
            if number > 1:
                self.tell(f"{sink}: {number - 1} more not taken: {why}")

    # Runs

    def _advance(self, run: str) -> None:
        """Send the new steps of a run that is not finished; one that stands still is kept open until it goes on."""
        found = read_complete_steps(self.store, run)
        new = [step for step in found if step > self.sent.get(run, -1)]
        if not new:
            return
        if run not in self.open:
            self.open[run] = self._start(run, [sink for sink in self.sinks if sink.live])
        fan = self.open[run]
        for step in new:
            fan.log(step, found[step], {})
        self.sent[run] = max(new)

    def _finish(self, run: str) -> None:
        """Send all that is missing of a finished run, and remember that it was taken."""
        self.over.add(run)
        mark = self.store.derived(run) / "tracking" / f"{self.plan['study']}.json"
        receipts = _receipts(mark)
        lacking = [sink for sink in self.sinks if not sink.holds(receipts.get(sink.name, {}))]
        fans = [self.open.pop(run)] if run in self.open else []
        rest = [sink for sink in lacking if not any(sink.name in fan.names for fan in fans)]
        fans += [self._start(run, rest)] if rest else []
        given: dict[str, Receipt] = {}
        if fans:
            found, figures = read_step_metrics(self.store, run), self._figures_of(run)
            best = self.store.run(run) / "checkpoints" / "best.safetensors"
            kept = {"best.safetensors": best} if self.checkpoints and best.is_file() else {}
            for fan in fans:
                _log(fan, found, figures)
                given |= fan.close(content.run_summary(self.store, run), kept)
        if given:
            files.write_json(mark, {"format": 1, "receipts": {**receipts, **given}})
        self._note(receipts, given, lacking)

    def _note(self, known: Mapping[str, Receipt], given: Mapping[str, Receipt], lacking: Sequence[Sink]) -> None:
        """Tell how far it is."""
        held = {**known, **given}
        complete = all(sink.name in given for sink in lacking)
        self.taken += complete
        self.new += complete and bool(lacking)
        self.offline = self.offline or any(receipt.get("mode") == "offline" for receipt in held.values())
        for receipt in held.values():
            self.places |= {str(place): None for key in ("url", "folder") if (place := receipt.get(key))}
        self.progress(
            {
                "done": self.taken,
                "of": len(self.runs) + 1,
                "new": self.new,
                "places": list(self.places),
                "offline": self.offline,
            }
        )

    def _start(self, run: str, sinks: Sequence[Sink]) -> TrackerGroup:
        planned = self.runs[run]
        name = f"{planned['label']}, seed {planned['seed']}"
        fan = self._fan(
            sinks, TrackedRun(self._id(run), self.plan["study"], name, "run", str(self.plan.get("why", "")))
        )
        fan.params(content.run_params(self.store, self.plan, planned))
        return fan

    def _fan(self, sinks: Sequence[Sink], about: TrackedRun) -> TrackerGroup:
        """Start a run in several sinks; what one of them raises is told once, however many runs it costs."""

        def failed(sink: str, error: Exception) -> None:
            why = " ".join(str(error).split())[:200] or type(error).__name__
            self.lost[sink, why] += 1
            if self.lost[sink, why] == 1:
                self.tell(f"{sink}: {about.name} was not taken: {why}")

        fan = TrackerGroup({sink.name: sink.tracker() for sink in sinks}, failed)
        fan.start(about)
        return fan

    def _id(self, what: str) -> str:
        """Name a run for trackers: a study's own, as runs are shared between studies."""
        return digest([self.plan["study"], what])

    def _figures_of(self, run: str) -> dict[str, TrackerMedia]:
        planned = self.runs[run]
        source = StudyRun(planned["label"], planned["seed"], run)
        shown = self._drawn(content.run_figures(self.store, self.plan, planned))
        layers, worth = reader.read_layers(self.store.run(run)), recordings.run_worth(self.store, run)
        if isinstance(layers, Layers):
            table = tables.layers_table({source: layers}, {source: worth} if isinstance(worth, Worth) else {})
            shown |= {} if table is None else {tables.LAYERS: table}
        return shown

    # The comparison

    def _compare(self) -> None:
        """Send the comparison of the study, if it is not what was sent last."""
        from mtlab.report.study_report import build_report

        done = {run: result for run in self.runs if (result := self.store.result(run)) is not None}
        if not done:
            return
        mark = self.store.study(self.plan["study"]) / "tracking.json"
        now, known = digest([done, *(self.plan.get(key) for key in _COMPARED)]), _read(mark)
        receipts: dict[str, Receipt] = known.get("receipts", {}) if known.get("of") == now else {}
        lacking = [sink for sink in self.sinks if not sink.holds(receipts.get(sink.name, {}))]
        given: dict[str, Receipt] = {}
        if lacking:
            report = build_report(self.store, self.plan)
            about = TrackedRun(self._id("comparison"), self.plan["study"], "comparison", "comparison", report.why)
            fan = self._fan(lacking, about)
            fan.params(
                {"study": self.plan["study"], "why": report.why, "design": report.design, "metric": report.metric}
            )
            grids: dict[str, TrackerMedia] = {tables.COMPARISON: tables.comparison_table(report), **self._all_layers()}
            numbers = {f"comparison/{row.label}": row.mean.mean for row in report.rows if row.mean is not None}
            drawn = self._drawn(content.study_figures(self.store, self.plan, report))
            fan.log(known.get("version", 0) + 1, numbers, {**grids, **drawn})
            given = fan.close({**numbers, "runs": len(done), "notes": "\n".join(report.notes)}, {})
            if given:
                kept = {"format": 1, "of": now, "version": known.get("version", 0) + 1}
                files.write_json(mark, {**kept, "receipts": {**receipts, **given}})
        self._note(receipts, given, lacking)

    def _all_layers(self) -> dict[str, TrackerMedia]:
        found, worths = (
            recordings.study_layers(self.store, self.plan).found,
            recordings.study_worths(self.store, self.plan).found,
        )
        table = tables.layers_table(found, worths)
        return {} if table is None else {tables.LAYERS: table}

    # Figures

    def _drawn(self, figures: Mapping[str, go.Figure]) -> dict[str, TrackerMedia]:
        """Make figures ready to be sent: with plain lists for arrays, and as pictures where that can be done."""
        pictures: Sequence[bytes | None] = [None] * len(figures)
        if self.images and figures:
            from mtlab.report.figures import export as drawing

            try:
                pictures = drawing.render_images([(figure, "png") for figure in figures.values()])
            except Exception as error:  # a browser may fail in many ways: the figures themselves are sent
                self.images = False
                if self.insists or not isinstance(error, UserError):
                    told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {str(error)[:120]}"
                    self.tell(f"figures are sent without pictures: {told}")
        return {
            name: TrackerFigure(with_plain_lists(figure), png)
            for (name, figure), png in zip(figures.items(), pictures, strict=True)
        }


def _log(fan: TrackerGroup, found: StepMetrics, figures: Mapping[str, TrackerMedia]) -> None:
    """Log all rows of a finished run; the figures come with the last: whoever has that row has them."""
    last = max(found, default=0)
    for step, values in found.items():
        if step < last:
            fan.log(step, values, {})
    fan.log(last, found.get(last, {}), figures)


def _receipts(mark: Path) -> dict[str, Receipt]:
    found = _read(mark).get("receipts")
    return found if isinstance(found, dict) else {}


def _read(mark: Path) -> dict[str, Any]:
    try:
        found = files.read_json(mark)
    except (FileNotFoundError, NotADirectoryError, UserError):  # one that is damaged is written anew
        return {}
    return found if isinstance(found, dict) else {}
