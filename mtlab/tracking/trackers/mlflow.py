"""MLflow as a sink: a database in the study's folder, or a tracking server, with short timeouts.

A run is found again by a tag with its id, and goes on after the last step that it holds. The package is imported when
the first run is sent.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mtlab import files
from mtlab.config.load import flatten
from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.tracking.base import (
    Receipt,
    Sink,
    TrackedRun,
    TrackerMedia,
    TrackerTable,
    UnreachableError,
    register_tracker,
)
from mtlab.tracking.final_numbers import final_numbers

T = TypeVar("T")

NAME = "mlflow"
SQLITE = "sqlite:///"
FOLDER = "mlflow"  #: of the database and its artifacts, below the study's
EXPERIMENT = "mtlab"
ID = "mtlab_id"  #: tag: the id of a run in trackers
STEP = "step"  #: metric: the steps that were logged
SECONDS = 10  #: for a server to answer before the study goes on without it
PARAMS, METRICS = 100, 1000  #: most in a request
LONGEST_VALUE, LONGEST_TAG, LONGEST_NAME = 6000, 8000, 250  #: characters


@register_tracker(NAME)
class MLflowSink(Sink):
    """MLflow: a database in the study's folder, or a tracking server, while runs train."""

    name = "MLflow"
    package = "mlflow"
    install = "mtlab[mlflow]"
    options: MLflowSink.Config

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of MLflow."""

        uri: str | None = option(
            None,
            "tracking server (http://…) or database (sqlite:///FILE); null: a database in the store, with the study",
        )
        experiment: str | None = option(None, "experiment of all runs; null: $MLFLOW_EXPERIMENT_NAME, else mtlab")
        images: bool | None = option(
            None, "keep figures as images too; needs `mtlab[images]` and Chrome or Chromium; null: where they are there"
        )
        checkpoints: bool = option(False, "keep the best checkpoint of every run, as an artifact")

        def __post_init__(self) -> None:
            if self.uri is not None and not re.match(r"https?://|(sqlite|postgresql|mysql|mssql)[\w+]*://", self.uri):
                problem = f"{self.uri!r}: expected http://HOST:PORT, or a database such as sqlite:///FILE"
                raise UserError(problem, key="uri")

    @property
    def live(self) -> bool:
        """Steps are sent when they are logged."""
        return True

    @property
    def uri(self) -> str:
        """Where MLflow keeps the runs; `MLFLOW_TRACKING_URI` does not send a study that names none to a server."""
        return self.options.uri or f"sqlite:///{(self.folder / FOLDER / 'mlflow.db').absolute()}"

    @property
    def experiment(self) -> str:
        """The experiment of all runs."""
        return self.options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT

    def prepare(self) -> None:
        """Let MLflow wait briefly, and report nothing to its makers."""
        os.environ |= {
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(SECONDS),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def tracker(self) -> MLflowTracker:
        """Make a tracker for a run."""
        return MLflowTracker(self)

    def holds(self, receipt: Receipt) -> bool:
        """Return whether a run was sent to the place and experiment that the study names."""
        return (receipt.get("uri"), receipt.get("experiment")) == (self.uri, self.experiment)

    @property
    def file(self) -> Path | None:
        """The database file; None for a server."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None

    def is_lost(self) -> bool:
        """Return whether the database file is missing."""
        return self.file is not None and not self.file.is_file()

    def place(self, receipt: Receipt) -> str:  # noqa: ARG002 - all runs of a study are in one place
        """Return the server or database."""
        return f"at {self.uri}"

    def open_experiment(self, client: Any) -> str:
        """Return the id of the experiment, which is made if it is not there."""
        if (known := client.get_experiment_by_name(self.experiment)) is not None:
            return str(known.experiment_id)
        if self.uri.startswith("http"):
            return str(client.create_experiment(self.experiment))
        # Of a database MLflow would keep them in the working folder.
        beside = self.folder / FOLDER if self.options.uri is None or self.file is None else self.file.parent
        artifacts = (beside / "artifacts").absolute()
        return str(client.create_experiment(self.experiment, artifact_location=artifacts.as_uri()))


class MLflowTracker:
    """The MLflow tracker of one run, see `Tracker`."""

    def __init__(self, sink: MLflowSink) -> None:
        self.sink = sink
        self.about: TrackedRun | None = None
        self.client: Any = None
        self.run = ""  #: MLflow's id
        self.known: Mapping[str, str] = {}  #: parameters that the run has
        self.next = 0  #: first step that was not logged yet
        self.last = 0
        self.time = 0.0  #: of the last step, in seconds since 1970

    def start(self, about: TrackedRun) -> None:
        """Start the run, or continue after the last step that it has."""
        from mlflow import MlflowClient

        self.about, self.time = about, about.started or time.time()
        if self.sink.options.uri is None:
            folder = self.sink.folder / FOLDER
            with files.explain_disk_errors(folder):
                folder.mkdir(exist_ok=True)
        with _reachable():
            self.client = MlflowClient(tracking_uri=self.sink.uri)
            experiment = self.sink.open_experiment(self.client)
            found = self.client.search_runs([experiment], f"tags.{ID} = '{about.id}'", max_results=1)
            if found:
                (run,) = found
                self.known = run.data.params
                steps = self.client.get_metric_history(run.info.run_id, STEP)
                self.next = max((metric.step for metric in steps), default=-1) + 1
                self.client.update_run(run.info.run_id, status="RUNNING")
            else:
                run = self.client.create_run(experiment, int(1000 * self.time), {ID: about.id}, about.name)
            self.run = run.info.run_id
            described = {"mlflow.note.content": about.notes, "study": about.study, "group": about.group}
            self._set_tags({**described, "kind": about.kind, "tags": ", ".join(about.tags)})

    def params(self, values: Mapping[str, Any]) -> None:
        """Set the parameters, which MLflow lets nobody change; the environment, which may change, as tags."""
        from mlflow.entities import Param

        flat = {_name(name): str(value)[:LONGEST_VALUE] for name, value in flatten(values).items()}
        lasting = {name: value for name, value in flat.items() if not name.startswith("environment.")}
        new = [Param(name, value) for name, value in lasting.items() if name not in self.known]
        with _reachable():
            for batch in _batches(new, PARAMS):
                self.client.log_batch(self.run, params=batch, synchronous=True)
            self._set_tags({name: value for name, value in flat.items() if name not in lasting})

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Log a step, unless it was logged before."""
        assert self.about is not None
        self.time = self.about.time_of(metrics, self.time)
        self.last = step
        if step >= self.next:
            with _reachable():
                self._log_metrics({**metrics, STEP: step}, step)
            self.next = step + 1
        with _reachable():
            self._keep_media(figures)

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        """Log the final numbers, keep the files, and end the run."""
        with _reachable():
            self._log_metrics(final_numbers(summary), self.last)
            self._set_tags({name: value for name, value in summary.items() if isinstance(value, str)})
            if not failed:
                self._forget_failure()
            for path in files.values():
                self.client.log_artifact(self.run, str(path), "checkpoints")
            self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED", int(1000 * self.time))
        return {"uri": self.sink.uri, "experiment": self.sink.experiment, "id": self.run}

    def _forget_failure(self) -> None:
        """Remove the tags of an earlier attempt that failed."""
        tags = self.client.get_run(self.run).data.tags
        for name in {"failure", "error"} & set(tags):
            self.client.delete_tag(self.run, name)

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        kept = [RunTag(_name(name), value[:LONGEST_TAG]) for name, value in tags.items() if value]
        for batch in _batches(kept, PARAMS):
            self.client.log_batch(self.run, tags=batch, synchronous=True)

    def _log_metrics(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(_name(name), value, int(1000 * self.time), step) for name, value in values.items()]
        for batch in _batches(metrics, METRICS):
            self.client.log_batch(self.run, metrics=batch, synchronous=True)

    def _keep_media(self, media: Mapping[str, TrackerMedia]) -> None:
        """Keep tables as JSON in the form of MLflow's own, figures as pages, and their images."""
        if not media:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, shown in media.items():
                if isinstance(shown, TrackerTable):
                    table = {"columns": list(shown.columns), "data": [list(row) for row in shown.rows]}
                    self.client.log_dict(self.run, table, f"{name}.json")
                    continue
                self.client.log_figure(self.run, shown.figure, f"figures/{name}.html")
                if shown.png is not None:
                    image = Path(folder) / f"{name}.png"
                    image.write_bytes(shown.png)
                    self.client.log_artifact(self.run, str(image), "pictures")


@contextmanager
def _reachable() -> Iterator[None]:
    """Turn a failed connection into an `UnreachableError`."""
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    try:
        yield
    except Exception as error:
        if any(isinstance(each, NoConnection | Timeout) for each in _causes(error)):
            raise UnreachableError(NAME, "MLflow's server cannot be reached") from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _name(name: str) -> str:
    """Return a name that MLflow takes: letters, digits, and `_-. /:`."""
    return re.sub(r"[^/\w.\- ]", "_", name)[:LONGEST_NAME]


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
