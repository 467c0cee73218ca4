"""Weights & Biases as a sink: offline files in the store, or a server, for which nobody waits long.

A run is written in a folder of its own and moved to its place when it is whole, so that a sync of W&B's own never meets
half a run. The package is imported when the first run is sent.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.tracking.base import Receipt, TrackedRun, TrackerFigure, TrackerMedia, UnreachableError
from mtlab.tracking.settings import WandbSettings

INIT_SECONDS = 10  #: for a server to answer before the study is carried on offline
FINISH_SECONDS = 120  #: for a server to take what is left of a run
FOLDER = "wandb"  #: of offline runs, below the study's


class WandbSink:
    """Where a study's runs go.

    Args:
        keys: what the study says, filled in.
        folder: the study's, in the store.

    """

    name = "W&B"

    def __init__(self, keys: WandbSettings, folder: Path) -> None:
        self.keys = keys
        self.folder = folder

    @property
    def live(self) -> bool:
        """A server is sent steps while a run goes on; offline files are written at once when it has ended."""
        return self.keys.mode == "online"

    def tracker(self) -> WandbTracker:
        """Make a tracker for a run."""
        return WandbTracker(self)

    def holds(self, receipt: Receipt) -> bool:
        """Tell whether a run is at the project that the study names, or written for it."""
        if (receipt.get("project"), receipt.get("entity")) != (self.keys.project, self.keys.entity):
            return False
        written = (self.folder / FOLDER / str(receipt.get("folder"))).is_dir()
        return receipt.get("mode") == "online" or (self.keys.mode == "offline" and written)

    def begin(self, about: TrackedRun, staging: Path) -> Any:
        """Begin a run in W&B.

        Raises:
            UnreachableError: the server cannot be had. W&B keeps the run's id in use: it takes another process to write
                it offline.

        """
        import wandb

        try:
            return wandb.init(
                project=self.keys.project,
                entity=self.keys.entity,
                id=about.id,
                name=about.name,
                group=self.keys.group or about.study,
                job_type=about.kind,
                tags=self.keys.tags or None,
                notes=about.notes or None,
                dir=staging,
                reinit="create_new",
                resume="allow" if self.live else None,
                settings=_settings(wandb, self.keys.mode),
            )
        except Exception as error:
            if self.live:
                raise UnreachableError(f"W&B {_problem(error)}") from error
            raise


class WandbTracker:
    """Takes one run, see `Tracker`."""

    def __init__(self, sink: WandbSink) -> None:
        self.sink = sink
        self.staging = sink.folder / f"{files.TEMPORARY}{secrets.token_hex(6)}-wandb"
        self.run: Any = None
        self.about: TrackedRun | None = None
        self.next = 0  #: the first step that is not there yet

    def start(self, about: TrackedRun) -> None:
        """Begin the run, or go on after the last step that the server has of it."""
        self.about = about
        with files.explain_disk_errors(self.staging):
            self.staging.mkdir(parents=True)
        self.run = self.sink.begin(about, self.staging)
        self.next = self.run.starting_step

    def params(self, values: Mapping[str, Any]) -> None:
        """Set the configuration."""
        self.run.config.update(dict(values), allow_val_change=True)

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Log a step in one piece, unless it is there."""
        if step < self.next:
            return
        self.run.log({**metrics, **_shown(figures)}, step=step, commit=True)
        self.next = step + 1

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:
        """Set the summary, add the files as an artifact, and wait until all of it is taken.

        Raises:
            UnreachableError: the server did not take it in time.

        """
        assert self.about is not None
        self.run.summary.update(dict(summary))
        if files:
            self.run.log_artifact(_artifact(self.about, files))
        where = {"project": self.sink.keys.project, "entity": self.sink.keys.entity, "id": self.about.id}
        url = self.run.url if self.sink.live else None
        _within(FINISH_SECONDS, lambda: self.run.finish(exit_code=1 if failed else 0))
        if not self.sink.live:
            return {"mode": "offline", **where, "folder": self._place(self.about.id)}
        shutil.rmtree(self.staging, ignore_errors=True)
        return {"mode": "online", **where, "url": url}

    def _place(self, run: str) -> str:
        """Put the offline run into its place, instead of an earlier one; return its folder's name."""
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


def wandb_environment(folder: Path) -> dict[str, str]:
    """What W&B reads of the environment before it is imported: no words of its own, its files in the study's folder."""
    return {
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",  # W&B would send its own errors to its makers
        "WANDB_DATA_DIR": str(folder / FOLDER / "artifacts"),
    }


def _settings(wandb: Any, mode: str) -> Any:
    """Settings for which W&B asks nothing, waits for nothing long, and records nothing of this machine."""
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


def _shown(figures: Mapping[str, TrackerMedia]) -> dict[str, Any]:
    """Turn figures into W&B's: `figures/NAME` (plotly), `pictures/NAME`, and tables under their own names."""
    import wandb

    made: dict[str, Any] = {}
    for name, shown in figures.items():
        if not isinstance(shown, TrackerFigure):
            made[name] = wandb.Table(columns=list(shown.columns), data=[list(row) for row in shown.rows])
            continue
        made[f"figures/{name}"] = wandb.Plotly(shown.figure)
        if shown.png is not None:
            from PIL import Image

            made[f"pictures/{name}"] = wandb.Image(Image.open(BytesIO(shown.png)))
    return made


def _artifact(about: TrackedRun, found: Mapping[str, Path]) -> Any:
    import wandb

    artifact = wandb.Artifact(f"checkpoint-{about.id}", "model", description=f"{about.study}: {about.name}")
    for name, path in found.items():
        artifact.add_file(str(path), name, policy="immutable")  # it is not copied
    return artifact


def _problem(error: Exception) -> str:
    """Say in a few words why W&B could not be had; never what it was sent."""
    told = " ".join(str(error).split())
    if "API key" in told and "configured" in told:
        return "has no key here (WANDB_API_KEY, or `wandb login`)"
    if any(word in told for word in ("401", "403", "Unauthorized", "permission denied", "invalid API key")):
        return "refuses the key"
    if any(word in told for word in ("refused", "timed out", "deadline", "resolve", "no such host", "unreachable")):
        return "cannot be reached"
    return f"failed ({type(error).__name__}: {told[:120]})"


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Call what may wait for a server; after `seconds`, leave it to its fate and raise `UnreachableError`."""
    raised: list[Exception] = []

    def go() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=go, name="wandb-finish", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise UnreachableError(f"W&B did not take a run within {seconds:.0f} s")
    if raised:
        raise raised[0]
