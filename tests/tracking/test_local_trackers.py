"""TensorBoard, MLflow and trackio: what their own libraries read back of what was written for them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from calling import Finished, mtlab
from patience import wait_for
from tracked_study import run_id

from mtlab.report.sync.study_sync import StudySync
from mtlab.runs.store import Store
from mtlab.tracking.base import TRACKERS
from mtlab.tracking.settings import check_tracking

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


@pytest.fixture
def one(store: Store) -> Store:
    return one_run(store)


def validation(store: Store, run: str) -> dict[int, float]:
    return {line["step"]: line["val/accuracy"] for line in store.metrics(run) if "val/accuracy" in line}


def metrics_of(store: Store) -> dict[str, float]:
    result = store.result(run_id(store, "static", 0))
    assert result is not None
    return dict(result["metrics"])


# TensorBoard


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


# MLflow


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
    left_out = "MLflow's server cannot be reached: left out; once that is mended, `mtlab track sync tracked` sends it"
    assert done.stdout.splitlines()[0] == left_out
    assert "TensorBoard: 2 of 2 (2 new)" in done.stdout
    assert "MLflow: " not in done.stdout.partition("\n")[2]
    assert "Traceback" not in done.stdout + done.stderr


# trackio


def trackio_says(store: Store, code: str) -> Any:
    """Read with trackio, which looks for its folder when it is imported."""
    imports = "import json, trackio\nfrom trackio.sqlite_storage import SQLiteStorage as S"
    script = f"{imports}\nprint(json.dumps({code}, default=str))"
    environment = os.environ | {"TRACKIO_DIR": str(store.study("tracked") / "trackio")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


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


# All of them


@pytest.mark.slow
def test_runs_that_go_on_side_by_side_are_kept_apart(store: Store, tmp_path: Path) -> None:
    """Two runs are open at once, as with two workers; each tracker gets the steps of both."""
    for name in ("tensorboard", "mlflow", "trackio"):
        pytest.importorskip(name)
    script = tmp_path / "follow.py"
    script.write_text(FOLLOW)
    subprocess.run([sys.executable, str(script), str(store.root)], check=True, timeout=120, capture_output=True)
    for seed in (0, 1):
        name, curve = f"static, seed {seed}", validation(store, run_id(store, "static", seed))
        board = events(store.study("tracked") / "tensorboard" / name).Scalars("val/accuracy")
        assert {event.step: event.value for event in board} == pytest.approx(curve)
        client, found = mlflow_runs(store)
        held = client.get_metric_history(found[name].info.run_id, "val/accuracy")
        assert {each.step: each.value for each in held} == pytest.approx(curve)
        rows = trackio_says(store, f"S.get_logs('tracked', {name!r})")
        assert {row["step"]: row["val/accuracy"] for row in rows if "val/accuracy" in row} == pytest.approx(curve)


FOLLOW = """
import sys
from pathlib import Path
from mtlab.report.sync.study_sync import StudySync
from mtlab.runs.store import Store
from mtlab.tracking.base import TRACKERS

store = Store.open(Path(sys.argv[1]))
plan = store.plan("tracked")
folders = [store.run(run["id"]) for run in plan["runs"] if run["label"] == "static"]
results = [folder / "result.json" for folder in folders]
whole = {folder: (folder / "metrics.jsonl").read_text().splitlines(keepends=True) for folder in folders}
held = [result.read_bytes() for result in results]
for result in results:
    result.unlink()
sinks = []
for name in ("tensorboard", "mlflow", "trackio"):
    entry = TRACKERS.get(name)
    sinks.append(entry.cls(entry.config(images=False), store.study("tracked")))
    sinks[-1].prepare()
sync = StudySync(store, plan, sinks, print)
for lines in range(2, max(map(len, whole.values())) + 1):
    for folder in folders:
        (folder / "metrics.jsonl").write_text("".join(whole[folder][:lines]))
    sync.poll()
assert len(sync.open) == 2
for result, content in zip(results, held):
    result.write_bytes(content)
sync.finish()
"""


@pytest.mark.slow
def test_figures_are_shown_as_images_where_they_were_rendered(store: Store, tmp_path: Path) -> None:
    for name in ("tensorboard", "mlflow", "trackio"):
        pytest.importorskip(name)
    script = tmp_path / "draw.py"
    script.write_text(DRAW)
    subprocess.run([sys.executable, str(script), str(store.root)], check=True, timeout=120, capture_output=True)
    (image,) = events(store.study("tracked") / "tensorboard" / "drawn").Images("figures/worth")
    assert (image.width, image.height, image.encoded_image_string[:4]) == (30, 20, b"\x89PNG")
    client, found = mlflow_runs(store)
    assert {"figures/worth.html", "pictures/worth.png"} <= files_of(client, found["drawn"])
    (row,) = [row for row in trackio_says(store, "S.get_logs('tracked', 'drawn')") if "figures/worth" in row]
    assert row["figures/worth"]["_type"] == "trackio.image"
    assert any((store.study("tracked") / "trackio").rglob("*.png"))


DRAW = """
import io, sys
from pathlib import Path
import plotly.graph_objects as go
from PIL import Image
from mtlab.runs.store import Store
from mtlab.tracking.base import TRACKERS, TrackedRun, TrackerFigure

folder, png = Store.open(Path(sys.argv[1])).study("tracked"), io.BytesIO()
Image.new("RGB", (30, 20), "red").save(png, "png")
for name in ("tensorboard", "mlflow", "trackio"):
    entry = TRACKERS.get(name)
    sink = entry.cls(entry.config(), folder)
    sink.prepare()
    tracker = sink.tracker()
    tracker.start(TrackedRun("d" * 12, "tracked", "drawn", "run"))
    tracker.params({"a": 1})
    tracker.log(1, {"b": 2.0}, {"worth": TrackerFigure(go.Figure(), png.getvalue())})
    tracker.close({}, {})
"""


@contextmanager
def following(store: Store, trackers: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The process that follows a study, as `mtlab run` starts it."""
    command = [sys.executable, "-m", "mtlab.report.sync", str(store.root), "tracked", json.dumps(trackers), "0"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_steps_come_while_a_run_goes_on_and_survive_a_kill(one: Store) -> None:
    for name in ("tensorboard", "mlflow", "trackio"):
        pytest.importorskip(name)
    quiet = {"images": False}
    trackers = {"tensorboard": quiet, "mlflow": quiet, "trackio": quiet}
    folder = one.run(run_id(one, "static", 0))
    (folder / "result.json").rename(folder / "later.json")
    whole = (folder / "metrics.jsonl").read_text()
    lines = [line for line in whole.splitlines(keepends=True) if json.loads(line)["step"] <= 20]
    (folder / "metrics.jsonl").write_text("".join(lines))
    board = one.study("tracked") / "tensorboard" / "static, seed 0"

    def written() -> list[int]:
        return [event.step for event in events(board).Scalars("val/accuracy")] if any(board.glob("events*")) else []

    with following(one, trackers) as process:
        wait_for(lambda: any(board.glob("events*")) and "val/accuracy" in events(board).Tags()["scalars"])
        assert written() == [10]
        os.killpg(process.pid, signal.SIGKILL)
    (folder / "metrics.jsonl").write_text(whole)
    (folder / "later.json").rename(folder / "result.json")
    with following(one, trackers) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(120) == 0
    assert written() == [10, 20, 30]
    client, found = mlflow_runs(one)
    held = client.get_metric_history(found["static, seed 0"].info.run_id, "step")
    assert sorted(each.step for each in held) == STEPS
    rows = trackio_says(one, "S.get_logs('tracked', 'static, seed 0')")
    assert [row["step"] for row in rows if "val/accuracy" in row] == [10, 20, 30]
    assert trackio_says(one, "S.get_runs('tracked')") == ["static, seed 0", "comparison"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--to", "tensorbord"), "command line: --to: unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
        (
            ("--set", "mlflow.uri=http://x"),
            "command line: --set: 'mlflow' is none of the trackers to send to (wandb): ",
        ),
        (("--to", "mlflow", "--set", "mlflow.uri"), "command line: --set: 'mlflow.uri': expected TRACKER.KEY=VALUE"),
        (
            ("--to", "mlflow", "--set", "mlflow.url=x"),
            "command line: --set mlflow.url: unknown key; did you mean 'uri'?",
        ),
        (("--to", "mlflow", "--offline"), "--project, --entity and --offline: are of W&B: add --to wandb"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(one: Store, arguments: tuple[str, ...], told: str) -> None:
    done = sync(one, *arguments)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "trackio"])
def test_what_is_not_installed_is_named_with_its_extra(one: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRACKERS.get(name).cls, "package", "not_there")
    from mtlab.cli.track import _refuse_missing
    from mtlab.errors import UserError

    with pytest.raises(UserError, match=rf"the package not_there is missing \(pip install 'mtlab\[{name}\]'\)"):
        _refuse_missing(check_tracking({name: {}}))


def test_every_tracker_says_where_and_whether_it_holds_a_run(one: Store) -> None:
    for entry in TRACKERS:
        sink = entry.cls(entry.config(), one.study("tracked"))
        assert not sink.holds({})
        assert isinstance(StudySync(one, one.plan("tracked"), [sink], print).images, bool | None)


def test_the_tracker_of_the_docs_works_as_a_plug_in(one: Store, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/trackers.md").read_text()
    (tmp_path / "lines_tracker.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    options = {"lines": {"folder": str(tmp_path / "written")}}
    given = {"plugins": ["lines_tracker"], "plugin_folder": str(tmp_path), "tracking": options}
    one.write_plan("tracked", one.plan("tracked") | given)
    done = sync(one)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"lines: 2 of 2 (2 new), the comparison counted as one, in {tmp_path / 'written'}" in done.stdout
    (run,) = [text for file in (tmp_path / "written").iterdir() if "seed 0" in (text := file.read_text())]
    head, rate, *steps, last = run.splitlines()
    assert (head, rate) == ("static, seed 0", "learning rate 0.001")
    assert [int(line.partition(":")[0]) for line in steps] == STEPS
    assert last == f"test accuracy {metrics_of(one)['test/accuracy']}"
    assert "lines: 2 of 2 (0 new)" in sync(one).stdout
