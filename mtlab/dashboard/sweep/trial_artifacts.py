"""What a sweep's dashboard shows of a trial beside its numbers: figures of its runs, and links to them.

They are made when the dashboard is asked for, of trials that have ended, and kept: pictures in the sweep's folder,
what belongs to which trial with its Optuna study. No search depends on them.
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
from mtlab.report.figures import export, theme
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

Draw = Callable[[list[tuple["go.Figure", str]]], list[bytes]]


@dataclass(frozen=True)
class Pending:
    """A trial that has ended and has no figures yet."""

    found: StoredSearch
    trial: FrozenTrial
    sources: tuple[StudyRun, ...]  #: its runs

    @property
    def name(self) -> str:
        """Name it for people."""
        return f"{self.found.label} · trial {self.trial.number}"


def pending(storage: BaseStorage, plan: Mapping[str, Any], searches: Sequence[StoredSearch]) -> Iterator[Pending]:
    """Go through the trials that have ended and have no figures yet."""
    for found in searches:
        if found.study is None:
            continue
        known = storage.get_study_system_attrs(storage.get_study_id_from_name(found.study.study_name))
        for trial in found.trials:
            cell = trial.user_attrs.get(CELL)
            if found.status.states[trial.number] not in _ENDED or cell is None:
                continue
            if any(key.startswith(_place(trial, "")) for key in known):
                continue
            label = f"{found.label} · trial {trial.number}"
            runs = [run for run in plan["runs"] if run["cell"] == cell]
            yield Pending(found, trial, tuple(StudyRun(label, run["seed"], run["id"]) for run in runs))


def figures(store: Store, pending: Pending) -> dict[str, go.Figure]:
    """Make the figures of a trial: the curves of its seeds, and, where recorded, the layers that its managers use."""
    from mtlab.report.figures import curves
    from mtlab.report.figures.layers import aggregation

    styles = theme.assign_styles([source.label for source in pending.sources])
    histories = {source: store.metrics(source.run) for source in pending.sources}
    logged = {source: rows for source, rows in histories.items() if rows}
    metric = next(
        (each.metric for each in pending.found.objectives if not each.metric.startswith("cost/")), "val/accuracy"
    )
    made = {"curves.png": curves.plot_curves(logged, metric, styles)}
    read = {source: reader.read_layers(store.run(source.run)) for source in pending.sources}
    layers = {source: each for source, each in read.items() if not isinstance(each, reader.Missing)}
    if layers:
        made["layers.png"] = aggregation.plot_aggregation(layers, styles)
    return {name: figure for name, figure in made.items() if figure.data}


def attach(
    store: Store,
    storage: BaseStorage,
    artifacts: FileSystemArtifactStore,
    waiting: Sequence[Pending],
    draw: Draw = export.render_images,
) -> None:
    """Attach figures and links to trials.

    Args:
        store: where their runs are.
        storage: of their searches.
        artifacts: where pictures are kept.
        waiting: the trials.
        draw: makes pictures of figures.

    Raises:
        UserError: kaleido or a Chromium is missing.

    """
    made = [(each, name, figure) for each in waiting for name, figure in figures(store, each).items()]
    drawn = draw([(figure, "png") for _, _, figure in made])
    for each in waiting:
        _link(each)
    for (each, name, _), picture in zip(made, drawn, strict=True):
        assert each.found.study is not None
        artifact = str(uuid.uuid4())
        artifacts.write(artifact, io.BytesIO(picture))
        about = {"artifact_id": artifact, "filename": name, "mimetype": "image/png", "encoding": None}
        study = storage.get_study_id_from_name(each.found.study.study_name)
        storage.set_study_system_attr(study, _place(each.trial, artifact), json.dumps(about))


def note(pending: Pending) -> str:
    """Write the note of a trial, Markdown: what became of it, and where its runs are."""
    trial, word = pending.trial, pending.found.status.states[pending.trial.number]
    problem = trial.user_attrs.get(PROBLEM)
    why = f": {problem['kind']}, {problem['problem']}" if problem else trial.user_attrs.get(REFUSED, "")
    runs = " · ".join(f"[seed {source.seed}](/run/{source.run})" for source in pending.sources)
    return f"**{pending.name}** {word}{why}\n\nIts runs: {runs}\n\n[The page of the whole sweep](/sweep)\n"


def folder(store: Store, plan: Mapping[str, Any]) -> Path:
    """Return where the pictures of a sweep are kept."""
    return store.study(plan["study"]) / FOLDER


def _link(pending: Pending) -> None:
    """Keep the note of a trial, unless somebody has written one."""
    import optuna
    from optuna_dashboard import get_note, save_note

    study = pending.found.study
    assert study is not None
    study.sampler = optuna.samplers.RandomSampler()
    with silence_optuna():
        trial = optuna.trial.Trial(study, pending.trial._trial_id)
        if not get_note(trial):
            save_note(trial, note(pending))


def _place(trial: FrozenTrial, artifact: str) -> str:
    """Name the attribute in which optuna-dashboard keeps an artifact of a trial that can no longer be written."""
    return f"dashboard:artifacts:{trial._trial_id}:{artifact}"
