"""What the tests of local trackers read back: TensorBoard, MLflow and trackio, each by its own library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from calling import Finished, mtlab
from tracked_study import run_id

from mtlab.runs.store import Store

STEPS = [0, 1, 2, 5, 10, 20, 30]
RUNS = {f"{label}, seed {seed}" for label in ("bridge", "static") for seed in (0, 1)}


def sync(store: Store, *arguments: object) -> Finished:
    return mtlab("track", "sync", "tracked", "--store", store.root, *arguments)


def one_run(store: Store) -> Store:
    """Leave one run of the study: to be sent in a few seconds."""
    plan = store.plan("tracked")
    plan["runs"] = [run for run in plan["runs"] if run["id"] == run_id(store, "static", 0)]
    store.write_plan("tracked", plan)
    return store


def validation(store: Store, run: str) -> dict[int, float]:
    return {line["step"]: line["val/accuracy"] for line in store.metrics(run) if "val/accuracy" in line}


def metrics_of(store: Store) -> dict[str, float]:
    result = store.result(run_id(store, "static", 0))
    assert result is not None
    return dict(result["metrics"])


def events(folder: Path) -> Any:
    """Open the event files of a run with TensorBoard's own reader."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def text(found: Any, tag: str) -> str:
    (event,) = found.Tensors(tag)
    return str(event.tensor_proto.string_val[0].decode())


def mlflow_runs(store: Store) -> tuple[Any, dict[str, Any]]:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store.study('tracked') / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mtlab")
    return client, {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def files_of(client: Any, run: Any, folder: str | None = None) -> set[str]:
    found = client.list_artifacts(run.info.run_id, folder)
    below = [files_of(client, run, each.path) for each in found if each.is_dir]
    return {each.path for each in found if not each.is_dir}.union(*below)


def trackio_says(store: Store, code: str) -> Any:
    """Read with trackio, which looks for its folder when it is imported."""
    imports = "import json, trackio\nfrom trackio.sqlite_storage import SQLiteStorage as S"
    script = f"{imports}\nprint(json.dumps({code}, default=str))"
    environment = os.environ | {"TRACKIO_DIR": str(store.study("tracked") / "trackio")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)
