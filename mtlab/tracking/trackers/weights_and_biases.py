"""Weights & Biases as a sink: offline files in the store, or a server, with short timeouts.

An offline run is written to a temporary folder and moved to its place when it is complete, so that `wandb sync` never
finds half a run. The package is imported when the first run is sent.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from mtlab import files
from mtlab.config.options import option
from mtlab.errors import UserError, one_line
from mtlab.time_limit import call_within
from mtlab.tracking.base import (
    Receipt,
    Sink,
    TrackedRun,
    TrackerFigure,
    TrackerMedia,
    UnreachableError,
    register_tracker,
)

INIT_SECONDS = 10  #: for a server to answer before the study is carried on offline
FINISH_SECONDS = 120  #: for a server to take what is left of a run
STEP = "step"  #: the axis of all charts
HISTORY = ("train/*", "val/*", "contribution/*", "entropy/*", "gradient/*", "seconds")  #: what is charted; not media
FOLDER = "wandb"  #: of offline runs, below the study's
NAME = "wandb"
OFFLINE_MODES = ("offline", "dryrun", "disabled")  #: values of `WANDB_MODE`
PROJECT = "mtlab"
REFUSED = ("previously created and deleted", "[409]")  #: what W&B says of one run, not of itself
_FORBIDDEN = set("/\\#?%:")  #: in names of W&B projects


@register_tracker(NAME)
class WandbSink(Sink):
    """Weights & Biases: offline files in the study's folder, or a server."""

    name = "W&B"
    package = "wandb"
    install = "wandb"
    options: WandbSink.Config

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of Weights & Biases."""

        mode: Literal["offline", "online"] = option(
            "offline", "offline: files in the store, to be sent later; online: sent while runs go on"
        )
        project: str | None = option(None, "W&B project; null: $WANDB_PROJECT, else mtlab")
        entity: str | None = option(None, "W&B user or team; null: $WANDB_ENTITY, else your default")
        group: str | None = option(None, "group of all runs; null: a group for each variant")
        tags: list[str] = option(list, "further tags of every run, beside the study and the manager")
        images: bool | None = option(
            None,
            "send figures as pictures too; needs `mtlab[images]` and Chrome or Chromium; null: where they are there",
        )
        checkpoints: bool = option(False, "send the best checkpoint of every run, as an artifact")

        def __post_init__(self) -> None:
            odd = sorted(_FORBIDDEN.intersection(self.project or ""))
            if odd or len(self.project or "") > 128:
                problem = f"a W&B project's name has no {' '.join(odd)}" if odd else "is longer than 128 letters"
                raise UserError(problem, key="project")
            if wrong := [tag for tag in self.tags if not 1 <= len(tag) <= 64]:
                raise UserError(f"{wrong[0]!r}: a W&B tag has 1 to 64 letters", key="tags")

        def filled(self) -> WandbSink.Config:
            """Fill in the environment: names that are left out; `WANDB_MODE` can turn online into offline alone."""
            offline = os.environ.get("WANDB_MODE") in OFFLINE_MODES
            return replace(
                self,
                mode="offline" if offline else self.mode,
                project=self.project or os.environ.get("WANDB_PROJECT") or PROJECT,
                entity=self.entity or os.environ.get("WANDB_ENTITY"),
            )

    def __init__(self, options: WandbSink.Config, folder: Path) -> None:
        super().__init__(options.filled(), folder)

    @property
    def live(self) -> bool:
        """Whether steps are sent while a run goes on; offline files are written at its end."""
        return self.options.mode == "online"

    def prepare(self) -> None:
        """Make W&B silent, with its files in the study's folder, and remove what a killed process has left."""
        os.environ |= {
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",  # W&B would report its own errors to its makers
            "WANDB_DATA_DIR": str(self.folder / FOLDER / "artifacts"),
        }
        for leftover in self.folder.glob(f"{files.TEMPORARY}*-wandb"):
            shutil.rmtree(leftover, ignore_errors=True)

    def tracker(self) -> WandbTracker:
        """Make a tracker for a run."""
        return WandbTracker(self)

    def holds(self, receipt: Receipt) -> bool:
        """Return whether a run was sent to the project that the study names, or written for it."""
        if (receipt.get("project"), receipt.get("entity")) != (self.options.project, self.options.entity):
            return False
        written = (self.folder / FOLDER / str(receipt.get("folder"))).is_dir()
        return receipt.get("mode") == "online" or (self.options.mode == "offline" and written)

    def place(self, receipt: Receipt) -> str:
        """Return the address of a run, or the folder of the offline ones."""
        return f"at {receipt.get('url')}" if receipt.get("mode") == "online" else f"in {self.folder / FOLDER}"

    @classmethod
    def without_server(cls, options: WandbSink.Config) -> WandbSink.Config:
        """Return options that write offline."""
        return replace(options, mode="offline")

    def init_run(self, about: TrackedRun, staging: Path) -> Any:
        """Start a run in W&B.

        Raises:
            UnreachableError: the server cannot be reached. W&B keeps the run's id in use, so another process must
                write it offline.
            UserError: W&B refuses this run alone.

        """
        import wandb

        try:
            return wandb.init(
                project=self.options.project,
                entity=self.options.entity,
                id=about.id,
                name=about.name,
                group=self.options.group or about.group or None,
                job_type=about.kind,
                tags=[*dict.fromkeys((*(cut_tag(tag) for tag in about.tags), *self.options.tags))],
                notes=about.notes or None,
                dir=staging,
                reinit="create_new",
                resume="allow" if self.live else None,
                settings=_settings(wandb, self.options.mode),
            )
        except Exception as error:
            if any(word in str(error) for word in REFUSED):
                raise UserError(
                    "W&B takes no run again that was deleted there: send the study to another project, "
                    f"`mtlab track sync {about.study} --project NAME`"
                ) from error
            if self.live:
                raise UnreachableError(NAME, f"W&B {describe_error(error)}") from error
            raise


def cut_tag(tag: str) -> str:
    """Return as much of a tag as W&B takes."""
    return tag[:64]


class WandbTracker:
    """The W&B tracker of one run, see `Tracker`."""

    def __init__(self, sink: WandbSink) -> None:
        self.sink = sink
        self.staging = sink.folder / f"{files.TEMPORARY}{secrets.token_hex(6)}-wandb"
        self.run: Any = None
        self.about: TrackedRun | None = None
        self.next = 0  #: first step that was not logged yet

    def start(self, about: TrackedRun) -> None:
        """Start the run, or continue after the last step that the server has."""
        self.about = about
        with files.explain_disk_errors(self.staging):
            self.staging.mkdir(parents=True)
        self.run = self.sink.init_run(about, self.staging)
        # The summary is that of the best checkpoint, which `close` sets, not the last values of the history.
        self.run.define_metric(STEP)
        for name in HISTORY:
            self.run.define_metric(name, step_metric=STEP, summary="none")
        self.next = self.run.starting_step

    def params(self, values: Mapping[str, Any]) -> None:
        """Set the configuration."""
        self.run.config.update(dict(values), allow_val_change=True)

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Log a step at once, unless it was logged before; figures of such a step are logged after the last one."""
        if step < self.next and not figures:
            return
        values = metrics if step >= self.next else {}
        step_there = max(step, self.next)
        self.run.log({STEP: step, **self._time(metrics), **values, **_to_wandb(figures)}, step=step_there, commit=True)
        self.next = step_there + 1

    def _time(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the time of a step as W&B names it: when the run was there, not when it is sent."""
        assert self.about is not None
        if self.about.started is None or "seconds" not in metrics:
            return {}
        return {"_timestamp": self.about.started + metrics["seconds"]}

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        """Set the summary, add the files as an artifact, and wait until everything is received.

        Raises:
            UnreachableError: the server did not receive it in time.

        """
        assert self.about is not None
        self.run.summary.update(dict(summary))
        for name in ("failure", "error") if not failed else ():  # of an earlier attempt
            if name in self.run.summary.keys():  # noqa: SIM118 - a summary is no mapping
                del self.run.summary[name]
        if files:
            self.run.log_artifact(_artifact(self.about, files))
        where = {"project": self.sink.options.project, "entity": self.sink.options.entity, "id": self.about.id}
        url = self.run.url if self.sink.live else None
        try:
            call_within(FINISH_SECONDS, lambda: self.run.finish(exit_code=1 if failed else 0))
        except TimeoutError:
            raise UnreachableError(NAME, f"W&B did not receive a run within {FINISH_SECONDS:.0f} s") from None
        if not self.sink.live:
            return {"mode": "offline", **where, "folder": self._move_to_place(self.about.id)}
        shutil.rmtree(self.staging, ignore_errors=True)
        return {"mode": "online", **where, "url": url}

    def _move_to_place(self, run: str) -> str:
        """Move the offline run to its place, replacing an earlier one; return the name of its folder."""
        target = self.sink.folder / FOLDER
        (written,) = (self.staging / "wandb").glob(f"offline-run-*-{run}")
        for part in ("logs", "tmp"):
            shutil.rmtree(written / part, ignore_errors=True)
        with files.explain_disk_errors(target):
            target.mkdir(exist_ok=True)
            for earlier in target.glob(f"offline-run-*-{run}"):
                shutil.rmtree(earlier)
            os.rename(written, target / written.name)
        shutil.rmtree(self.staging, ignore_errors=True)
        return written.name


def _settings(wandb: Any, mode: str) -> Any:
    """Return settings with which W&B asks nothing, waits briefly, and records nothing of this machine."""
    return wandb.Settings(
        mode=mode,
        init_timeout=INIT_SECONDS,
        login_timeout=INIT_SECONDS,
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )


def _to_wandb(figures: Mapping[str, TrackerMedia]) -> dict[str, Any]:
    """Convert media to W&B's: `figures/NAME` (plotly), `pictures/NAME`, and tables under their own names."""
    import wandb

    converted: dict[str, Any] = {}
    for name, shown in figures.items():
        if not isinstance(shown, TrackerFigure):
            converted[name] = wandb.Table(columns=list(shown.columns), data=[list(row) for row in shown.rows])
            continue
        converted[f"figures/{name}"] = wandb.Plotly(shown.figure)
        if shown.png is not None:
            from PIL import Image

            converted[f"pictures/{name}"] = wandb.Image(Image.open(BytesIO(shown.png)))
    return converted


def _artifact(about: TrackedRun, found: Mapping[str, Path]) -> Any:
    import wandb

    artifact = wandb.Artifact(f"checkpoint-{about.id}", "model", description=f"{about.study}: {about.name}")
    for name, path in found.items():
        artifact.add_file(str(path), name, policy="immutable")  # without a copy
    return artifact


def describe_error(error: Exception) -> str:
    """Say briefly why W&B failed, without anything that was sent to it."""
    message = one_line(error)
    if "API key" in message and "configured" in message:
        return "has no key here: run `wandb login`, or set WANDB_API_KEY"
    if any(word in message for word in ("401", "403", "Unauthorized", "permission denied", "invalid API key")):
        return "refuses the key"
    if any(word in message for word in ("refused", "timed out", "deadline", "resolve", "no such host", "unreachable")):
        return "cannot be reached"
    return f"failed ({one_line(error, 120, kind=True)})"
