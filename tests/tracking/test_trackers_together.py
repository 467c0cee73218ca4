"""Several local trackers together: runs side by side, kills, figures, mistakes, and a tracker of one's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import wait_for
from read_back import (
    STEPS,
    events,
    files_of,
    metrics_of,
    mlflow_runs,
    sync,
    trackio_says,
    validation,
)
from tracked_study import run_id

from mtlab.report.sync.study_sync import StudySync
from mtlab.runs.store import Store
from mtlab.tracking.base import TRACKERS
from mtlab.tracking.settings import check_tracking


def import_trackers() -> None:
    for name in ("tensorboard", "mlflow", "trackio"):
        pytest.importorskip(name)


def run_script(text: str, store: Store, folder: Path) -> None:
    """Run a script that sends a store's study to all trackers, in a process of its own."""
    import_trackers()
    script = folder / "script.py"
    script.write_text(text)
    subprocess.run([sys.executable, str(script), str(store.root)], check=True, timeout=120, capture_output=True)


@pytest.mark.slow
def test_runs_that_go_on_side_by_side_are_kept_apart(store: Store, tmp_path: Path) -> None:
    """Two runs are open at once, as with two workers; each tracker gets the steps of both."""
    run_script(FOLLOW, store, tmp_path)
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
    run_script(DRAW, store, tmp_path)
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
    import_trackers()
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
