"""TensorBoard, MLflow and trackio: what their own libraries read back of what was written for them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from unittest.mock import Mock

import pytest
from read_back import (
    RUNS,
    STEPS,
    events,
    files_of,
    metrics_of,
    mlflow_runs,
    sync,
    text,
    trackio_says,
    validation,
)
from tracked_study import run_id

from mtlab.runs.store import Store
from mtlab.tracking.base import TRACKERS, TrackedRun
from mtlab.tracking.settings import check_tracking
from mtlab.tracking.trackers.mlflow import MLflowSink, MLflowTracker
from mtlab.tracking.trackers.tensorboard import TensorBoardTracker

# TensorBoard


@pytest.mark.slow
def test_tensorboard_reads_back_curves_configuration_layers_and_results(store: Store) -> None:
    pytest.importorskip("tensorboard")
    done = sync(store, "--to", "tensorboard")
    assert done.returncode == 0, done.stdout + done.stderr
    root = store.study("tracked") / "tensorboard"
    assert f"TensorBoard: 5 of 5 (5 new), the comparison counted as one, in {root}" in done.stdout
    assert {folder.name for folder in root.iterdir()} == {*RUNS, "comparison"}
    found, run = events(root / "static, seed 0"), run_id(store, "static", 0)
    curve = {event.step: event.value for event in found.Scalars("val/accuracy")}
    assert curve == pytest.approx(validation(store, run))
    assert [event.step for event in found.Scalars("contribution/text/level 1")] == STEPS
    finished = (store.run(run) / "result.json").stat().st_mtime
    assert found.Scalars("val/accuracy")[-1].wall_time == pytest.approx(finished, abs=2)
    metrics = metrics_of(store)
    (best,), (test,) = found.Scalars("best/val/accuracy"), found.Scalars("test/accuracy")
    assert (best.value, test.value) == pytest.approx((metrics["val/accuracy"], metrics["test/accuracy"]))
    assert "  batch: 20\n" in text(found, "configuration")
    assert "| static | 0 | image | 2 | level 3 |" in text(found, "layers/table")
    plugins = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"manager.name" in plugins
    assert b"static" in plugins
    compared = events(root / "comparison")
    assert compared.Tags()["scalars"][:2] == ["comparison/bridge", "comparison/static"]
    assert len(text(compared, "comparison/table").splitlines()) == 4
    again = sync(store, "--to", "tensorboard")
    assert "TensorBoard: 5 of 5 (0 new)" in again.stdout


def test_variants_whose_names_differ_in_unusual_letters_have_folders_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    long = "é" * 300
    for number, name in enumerate(("a/b, seed 0", "a:b, seed 0", "static, seed 0", long)):
        tracker = TensorBoardTracker(tmp_path)
        tracker.start(TrackedRun(f"{number}" * 12, "study", name, "run"))
        tracker.close({}, {})
    folders = sorted(folder.name for folder in tmp_path.iterdir())
    shortened = f"{'é' * 100} 333333"  # a file system takes 255 bytes
    assert folders == ["a_b, seed 0 000000", "a_b, seed 0 111111", "static, seed 0", shortened]


@pytest.mark.parametrize("kind", ["tensorboard", "trackio"])
def test_stores_that_share_a_folder_keep_each_others_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "shared"
    monkeypatch.setenv("TRACKIO_DIR", str(folder))  # read when it is imported
    pytest.importorskip(kind)
    about = TrackedRun("1" * 24, "study", "static, seed 0", "run")
    for store in ("one", "other", "one"):
        options = check_tracking({kind: {"folder": str(folder)}})[kind]
        sink = TRACKERS.get(kind).cls(options, tmp_path / store / "studies" / "study")
        sink.prepare()
        tracker = sink.tracker()
        tracker.start(about)
        tracker.params({"train": {"lr": 0.1}})
        tracker.log(0, {"val/accuracy": 0.5}, {})
        assert sink.holds(tracker.close({}, {}))
    if kind == "tensorboard":
        names = [run.name for run in (folder / "study").iterdir()]
    else:
        import trackio

        names = [run.name for run in trackio.Api().runs("study")]
    own, other = sorted(names)
    assert (own, other[:-6]) == ("static, seed 0", "static, seed 0 ")


# MLflow


@pytest.mark.slow
def test_mlflow_reads_back_curves_parameters_layers_and_results(one: Store) -> None:
    pytest.importorskip("mlflow")
    arguments = ("--to", "mlflow", "--set", "mlflow.checkpoints=true", "--set", "mlflow.images=false")
    done = sync(one, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MLflow: 2 of 2 (2 new), the comparison counted as one, at sqlite:///" in done.stdout
    client, found = mlflow_runs(one)
    assert found.keys() == {"static, seed 0", "comparison"}
    run, own = found["static, seed 0"], run_id(one, "static", 0)
    assert run.info.status == "FINISHED"
    curve = client.get_metric_history(run.info.run_id, "val/accuracy")
    assert {each.step: each.value for each in curve} == pytest.approx(validation(one, own))
    assert [each.step for each in client.get_metric_history(run.info.run_id, "step")] == STEPS
    metrics = metrics_of(one)
    assert run.data.metrics["best/val/accuracy"] == pytest.approx(metrics["val/accuracy"])
    assert run.data.metrics["test/accuracy"] == pytest.approx(metrics["test/accuracy"])
    assert "layers/weight/image/layer 2/level 3" in run.data.metrics
    assert (run.data.params["train.batch"], run.data.params["axes.manager.name"]) == ("20", "static")
    assert (run.data.tags["study"], run.data.tags["group"]) == ("tracked", "static")
    assert "environment.versions.torch" in run.data.tags
    kept = files_of(client, run)
    assert {"checkpoints/best.safetensors", "figures/contributions.html", "layers/table.json"} <= kept
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "layers/table.json")).read_text())
    assert table["columns"][:4] == ["variant", "seed", "modality", "layer"]
    assert table["data"][0][:2] == ["static", 0]
    assert not (Path.cwd() / "mlruns").exists()
    again = sync(one, *arguments)
    assert "MLflow: 2 of 2 (0 new)" in again.stdout
    (one.derived(own) / "tracking" / "tracked.json").unlink()  # as if killed before the receipt was written
    assert "MLflow: 2 of 2 (1 new)" in sync(one, *arguments).stdout
    client, found = mlflow_runs(one)
    assert len(found) == 2
    assert len(client.get_metric_history(found["static, seed 0"].info.run_id, "val/accuracy")) == 3


def test_final_numbers_stand_at_the_last_step_though_all_steps_were_logged_before(tmp_path: Path) -> None:
    """As of a run that was killed before its receipt was written: MLflow has its steps, and its end is told again."""
    pytest.importorskip("mlflow")
    tracker = MLflowTracker(MLflowSink(MLflowSink.Config(), tmp_path))
    tracker.about = TrackedRun("id", "study", "static, seed 0", "run", started=1000.0)
    tracker.client, tracker.next = Mock(), 31
    tracker.client.get_run.return_value.data.tags = {"failure": "memory", "study": "study"}  # of an earlier attempt
    tracker.log(20, {"seconds": 2.0}, {})
    tracker.log(30, {"seconds": 3.0}, {})
    tracker.close({"test/accuracy": 0.5}, {})
    (logged,) = [call.kwargs["metrics"] for call in tracker.client.log_batch.call_args_list]
    assert [(each.key, each.step, each.timestamp) for each in logged] == [("test/accuracy", 30, 1_003_000)]
    assert tracker.client.set_terminated.call_args.args[2] == 1_003_000
    assert [call.args[1] for call in tracker.client.delete_tag.call_args_list] == ["failure"]


@pytest.mark.slow
@pytest.mark.parametrize("listens", [False, True], ids=["nothing listens", "it takes connections and never answers"])
def test_a_study_goes_on_without_an_mlflow_server_that_does_not_answer(one: Store, *, listens: bool) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("tensorboard")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        if listens:
            deaf.listen(8)
        uri = f"mlflow.uri=http://127.0.0.1:{deaf.getsockname()[1]}"
        done = sync(one, "--to", "mlflow", "--to", "tensorboard", "--set", uri)
    assert done.returncode == 1
    command = f"mtlab track sync tracked --store {one.root}"
    left_out = f"MLflow's server cannot be reached: left out; once that is mended, `{command}` sends it"
    assert done.stdout.splitlines()[0] == left_out
    assert "TensorBoard: 2 of 2 (2 new)" in done.stdout
    assert "MLflow: " not in done.stdout.partition("\n")[2]
    assert "Traceback" not in done.stdout + done.stderr


# trackio


@pytest.mark.slow
def test_trackio_reads_back_curves_configuration_layers_and_results(
    one: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/elsewhere")  # nothing makes it leave this machine
    arguments = ("--to", "trackio", "--set", "trackio.checkpoints=true", "--set", "trackio.images=false")
    done = sync(one, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trackio: 2 of 2 (2 new), the comparison counted as one, project tracked in" in done.stdout
    assert trackio_says(one, "[run.name for run in trackio.Api().runs('tracked')]") == ["static, seed 0", "comparison"]
    rows = trackio_says(one, "S.get_logs('tracked', 'static, seed 0')")
    curve = {row["step"]: row["val/accuracy"] for row in rows if "val/accuracy" in row}
    assert curve == pytest.approx(validation(one, run_id(one, "static", 0)))
    assert [row["step"] for row in rows if "seconds" in row or "contribution/text/level 1" in row] == STEPS
    (last,) = [row for row in rows if "test/accuracy" in row]
    assert last["test/accuracy"] == pytest.approx(metrics_of(one)["test/accuracy"])
    (table,) = [row["layers/table"] for row in rows if "layers/table" in row]
    assert {"variant": "static", "seed": 0}.items() <= table["_value"][0].items()
    config = trackio_says(one, "S.get_run_config('tracked', 'static, seed 0')")
    assert (config["train"]["batch"], config["variant"], config["_Group"]) == (20, "static", "static")
    assert len(trackio_says(one, "S.get_artifacts('tracked')")) == 1
    (one.derived(run_id(one, "static", 0)) / "tracking" / "tracked.json").unlink()
    assert sync(one, *arguments).returncode == 0
    assert trackio_says(one, "S.get_logs('tracked', 'static, seed 0')") != []
    assert len(trackio_says(one, "S.get_runs('tracked')")) == 2  # replaced, not doubled
    named = (*arguments, "--set", "trackio.project=my study.v2")
    assert "(2 new)" in sync(one, *named).stdout
    assert "(0 new)" in sync(one, *named).stdout
