"""trackio as a sink: its local database, in the study's folder or another.

A run that is started again is written anew, as all of its steps are logged again. The package is imported when the
first run is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.config.hashing import digest
from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.tracking.base import Receipt, Sink, TrackedRun, TrackerMedia, TrackerTable, register_tracker
from mtlab.tracking.final_numbers import final_numbers

FOLDER = "trackio"  #: of the database, below the study's, unless the study names another


@register_tracker("trackio")
class TrackioSink(Sink):
    """trackio: a local project, in the study's folder or another, while runs train."""

    name = "trackio"
    package = "trackio"
    install = "mtlab[trackio]"
    options: TrackioSink.Config

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of trackio."""

        project: str | None = option(None, "project of all runs; null: the study's name")
        folder: str | None = option(
            None, "trackio's folder, such as ~/.cache/huggingface/trackio; null: in the store, with the study"
        )
        images: bool | None = option(
            None, "keep figures as images; needs `mtlab[images]` and Chrome or Chromium; null: where they are there"
        )
        checkpoints: bool = option(False, "keep the best checkpoint of every run, as an artifact")

        def __post_init__(self) -> None:
            if self.project is not None and not re.fullmatch(r"[\w .-]{1,80}", self.project):
                raise UserError("a project's name has letters, digits, spaces and -_. (80 at most)", key="project")

    @property
    def live(self) -> bool:
        """Steps are written when they are logged."""
        return True

    @property
    def root(self) -> Path:
        """Trackio's folder: what `TRACKIO_DIR` is to name for `trackio show`."""
        if self.options.folder is None:
            return (self.folder / FOLDER).absolute()
        return Path(self.options.folder).expanduser().absolute()

    @property
    def project(self) -> str:
        """The project of all runs."""
        return self.options.project or self.folder.name

    def prepare(self) -> None:
        """Make trackio write to the folder, and nowhere else: it would obey the environment."""
        with files.explain_disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        os.environ["TRACKIO_DIR"] = str(self.root)
        for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL"):
            os.environ.pop(name, None)

    def tracker(self) -> TrackioTracker:
        """Make a tracker for a run."""
        return TrackioTracker(self)

    def holds(self, receipt: Receipt) -> bool:
        """Return whether a run was written to the folder and project that the study names."""
        return (receipt.get("folder"), receipt.get("project")) == (str(self.root), self.project)

    def is_lost(self) -> bool:
        """Return whether the project has no database."""
        from trackio.utils import canonical_project_name

        return not (self.root / f"{canonical_project_name(self.project)}.db").is_file()

    def place(self, receipt: Receipt) -> str:  # noqa: ARG002 - all runs of a study are in one place
        """Return the project and trackio's folder."""
        return f"project {self.project} in {self.root}"


class TrackioTracker:
    """The trackio tracker of one run, see `Tracker`."""

    def __init__(self, sink: TrackioSink) -> None:
        self.sink = sink
        self.about: TrackedRun | None = None
        self.run: Any = None
        self.config: Mapping[str, Any] = {}
        self.next = self.last = 0

    def start(self, about: TrackedRun) -> None:
        """Remember the run: trackio wants its parameters at the start."""
        self.about = about

    def params(self, values: Mapping[str, Any]) -> None:
        """Start the run, in place of an earlier one, but never of another store's."""
        import trackio

        assert self.about is not None
        project, name = self.sink.project, self._name(self.about)
        owner = {} if self.sink.options.folder is None else {"store": self.sink.owner}
        earlier = list(_runs(project))
        stores = {(run.config or {}).get("store") for run in earlier if run.name == name}
        if owner and stores - {None, self.sink.owner}:
            name = f"{name} {digest([self.sink.owner, self.about.id])[:6]}"
        for run in earlier:
            if run.name == name:
                run.delete()
        self.run = trackio.init(
            project=project,
            name=name,
            group=self.about.group or None,
            config={"study": self.about.study, "kind": self.about.kind, "notes": self.about.notes, **owner, **values},
            resume="never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        trackio.context_vars.current_run.set(None)  # or the next `init` would end this run

    def _name(self, about: TrackedRun) -> str:
        """Return the run's name, with that of the study where a project may hold several."""
        return about.name if self.sink.project == about.study else f"{about.study}: {about.name}"

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Log a step, unless it was logged before."""
        if step < self.next:
            return
        self.run.log({**metrics, **_to_trackio(figures)}, step=step)
        self.last, self.next = step, step + 1

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        """Log the final numbers with the last step, keep the files, and wait until all is written.

        Raises:
            RuntimeError: trackio, which itself only warns, has not written everything.

        """
        words = {name: value for name, value in summary.items() if isinstance(value, str)}
        state = {"failed": 1.0} if failed else {}
        self.run.log({**final_numbers(summary), **words, **state}, step=self.last)
        for path in files.values():
            self.run.log_artifact(str(path), name=_artifact_name(self.run.name), type="model")
        self.run.finish()
        self._refuse_incomplete()
        return {"folder": str(self.sink.root), "project": self.sink.project, "id": self.run.id}

    def _refuse_incomplete(self) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        last = SQLiteStorage.get_last_step(self.sink.project, self.run.name, run_id=self.run.id)
        if last != self.last:
            raise RuntimeError(f"trackio has written up to step {last} of {self.last}")


def _runs(project: str) -> list[Any]:
    import trackio

    try:
        return list(trackio.Api().runs(project))
    except ValueError:  # there is no such project yet
        return []


def _to_trackio(figures: Mapping[str, TrackerMedia]) -> dict[str, Any]:
    """Convert media to trackio's: tables, and figures where they are images."""
    import trackio

    converted: dict[str, Any] = {}
    for name, shown in figures.items():
        if isinstance(shown, TrackerTable):
            converted[name] = trackio.Table(list(shown.columns), [list(row) for row in shown.rows])
        elif shown.png is not None:
            from PIL import Image

            converted[f"figures/{name}"] = trackio.Image(Image.open(BytesIO(shown.png)))
    return converted


def _artifact_name(name: str) -> str:
    return "checkpoint-" + re.sub(r"[^\w.-]+", "-", name).strip("-.")
