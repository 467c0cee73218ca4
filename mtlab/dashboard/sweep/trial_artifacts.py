"""Artifacts of trials in optuna-dashboard: figures of their runs, and notes with links to them.

They are made while the dashboard runs, for trials that have ended, and kept: images in the sweep's folder, the index in
the Optuna study. No search depends on them.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab.recording import reader
from mtlab.report.figures import render, theme
from mtlab.report.figures.curves import plot_curves
from mtlab.report.figures.layers.aggregation import plot_aggregation
from mtlab.report.recordings import StudyRun
from mtlab.runs.store import Store
from mtlab.sweeps.optuna_helpers import silence_optuna
from mtlab.sweeps.status import CELL, PROBLEM, REFUSED
from mtlab.sweeps.stored import StoredSearch

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

FOLDER = "artifacts"  #: in the sweep's folder of the store
BATCH = 8  #: trials whose figures are drawn by one start of the browser
_ENDED = ("done", "pruned", "failed")

Renderer = Callable[[list[tuple["go.Figure", str]]], list[bytes]]


@dataclass(frozen=True)
class PendingTrial:
    """A trial that has ended and was not given its figures yet."""

    found: StoredSearch
    trial: FrozenTrial
    runs: tuple[StudyRun, ...]

    @property
    def name(self) -> str:
        """Variant and number of the trial."""
        return f"{self.found.label} · trial {self.trial.number}"


def pending_trials(
    storage: BaseStorage, plan: Mapping[str, Any], searches: Sequence[StoredSearch]
) -> Iterator[PendingTrial]:
    """Yield the trials that have ended and were not given their figures yet."""
    for found in searches:
        if found.study is None:
            continue
        known = storage.get_study_system_attrs(storage.get_study_id_from_name(found.study.study_name))
        for trial in found.trials:
            cell = trial.user_attrs.get(CELL)
            if found.status.states[trial.number] not in _ENDED or cell is None:
                continue
            if _handled(trial) in known:
                continue
            label = f"{found.label} · trial {trial.number}"
            runs = [run for run in plan["runs"] if run["cell"] == cell]
            yield PendingTrial(found, trial, tuple(StudyRun(label, run["seed"], run["id"]) for run in runs))


def trial_figures(store: Store, pending: PendingTrial) -> dict[str, go.Figure]:
    """Draw the figures of a trial: the curves of its seeds and, where recorded, the layers that its managers use."""
    styles = theme.assign_styles([run.label for run in pending.runs])
    histories = {run: store.metrics(run.run) for run in pending.runs}
    logged = {run: rows for run, rows in histories.items() if rows}
    metric = next(
        (each.metric for each in pending.found.objectives if not each.metric.startswith("cost/")), "val/accuracy"
    )
    made = {"curves.png": plot_curves(logged, metric, styles)}
    read = {run: reader.read_layers(store.run(run.run)) for run in pending.runs}
    layers = {run: each for run, each in read.items() if not isinstance(each, reader.Missing)}
    if layers:
        made["layers.png"] = plot_aggregation(layers, styles)
    return {name: figure for name, figure in made.items() if figure.data}


def attach_artifacts(
    store: Store,
    storage: BaseStorage,
    artifacts: FileSystemArtifactStore,
    waiting: Sequence[PendingTrial],
    draw: Renderer = render.render_images,
) -> None:
    """Attach figures and links to trials.

    Args:
        store: where their runs are.
        storage: of their searches.
        artifacts: where images are kept.
        waiting: the trials.
        draw: makes images of figures.

    Raises:
        UserError: kaleido or a Chromium is missing.

    """
    made = [(each, name, figure) for each in waiting for name, figure in trial_figures(store, each).items()]
    drawn = draw([(figure, "png") for _, _, figure in made])
    for each in waiting:
        _save_note(each)
    for (each, name, _), picture in zip(made, drawn, strict=True):
        assert each.found.study is not None
        artifact = str(uuid.uuid4())
        artifacts.write(artifact, io.BytesIO(picture))
        about = {"artifact_id": artifact, "filename": name, "mimetype": "image/png", "encoding": None}
        study = storage.get_study_id_from_name(each.found.study.study_name)
        storage.set_study_system_attr(study, _attribute(each.trial, artifact), json.dumps(about))
    for each in waiting:  # those whose runs have nothing to draw, too
        assert each.found.study is not None
        study = storage.get_study_id_from_name(each.found.study.study_name)
        storage.set_study_system_attr(study, _handled(each.trial), True)


def trial_note(pending: PendingTrial) -> str:
    """Write the note of a trial as Markdown: its state, and links to its runs."""
    trial, word = pending.trial, pending.found.status.states[pending.trial.number]
    problem = trial.user_attrs.get(PROBLEM)
    why = f": {problem['kind']}, {problem['problem']}" if problem else trial.user_attrs.get(REFUSED, "")
    runs = " · ".join(f"[seed {run.seed}](/run/{run.run})" for run in pending.runs)
    return f"**{pending.name}** {word}{why}\n\nIts runs: {runs}\n\n[The page of the whole sweep](/sweep)\n"


def artifact_folder(store: Store, plan: Mapping[str, Any]) -> Path:
    """Return the folder of a sweep's images."""
    return store.study(plan["study"]) / FOLDER


def _save_note(pending: PendingTrial) -> None:
    """Save the note of a trial, unless it has one."""
    import optuna
    from optuna_dashboard import get_note, save_note

    study = pending.found.study
    assert study is not None
    study.sampler = optuna.samplers.RandomSampler()
    with silence_optuna():
        trial = optuna.trial.Trial(study, pending.trial._trial_id)
        if not get_note(trial):
            save_note(trial, trial_note(pending))


def _handled(trial: FrozenTrial) -> str:
    """Return the attribute that tells that a trial was given its figures."""
    return f"mtlab:figures:{trial._trial_id}"


def _attribute(trial: FrozenTrial, artifact: str) -> str:
    """Return the attribute in which optuna-dashboard keeps an artifact of a finished trial."""
    return f"dashboard:artifacts:{trial._trial_id}:{artifact}"
