"""From the store to a tracker that writes down what it is given."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from notebook import Notebook, make_sync
from tracked_study import run_id

from mtlab import files
from mtlab.report.layer_table import COLUMNS
from mtlab.report.sync.run_data import read_complete_steps, read_step_metrics
from mtlab.runs.store import Store
from mtlab.tracking.base import TrackedRun, TrackerFigure, TrackerGroup, TrackerTable


def test_finished_runs_are_handed_on_whole(store: Store) -> None:
    notebook = Notebook(checkpoints=True)
    sync, told, progress = make_sync(store, notebook)
    sync.finish()
    assert told == []
    assert {run.about.name for run in notebook.runs.values()} == {
        "bridge, seed 0", "bridge, seed 1", "static, seed 0", "static, seed 1", "comparison",
    }  # fmt: skip
    run, folder = notebook.named("static, seed 1"), store.run(run_id(store, "static", 1))
    assert run.steps == [0, 1, 2, 5, 10, 20, 30]
    logged = {line["step"]: line for line in store.metrics(run_id(store, "static", 1)) if "val/loss" in line}
    assert {
        step: values["val/loss"] for step, values in zip(run.steps, run.values, strict=True) if "val/loss" in values
    } == {step: line["val/loss"] for step, line in logged.items()}
    assert {"contribution/text/previous 1", "contribution/image/level 2", "entropy/text"} <= run.values[0].keys()
    names = {name for values in run.values for name in values}
    assert not [name for name in names if "layer 1" in name or name.startswith("weight")]
    assert (run.about.group, run.about.tags) == ("static", ("tracked", "static"))
    assert "gradient/head" in run.values[1]
    result = json.loads((folder / "result.json").read_text())
    assert {name: run.summary[name] for name in result["metrics"]} == result["metrics"]
    drop = result["metrics"]["val/accuracy"] - result["interventions"]["image"]["without"]["2"]
    assert run.summary["worth/image/level 2"] == pytest.approx(drop)
    curve = [(line["step"], line["val/accuracy"]) for line in logged.values()]
    area = sum((b - a) * (x + y) / 2 for (a, x), (b, y) in pairwise(curve)) / (curve[-1][0] - curve[0][0])
    assert run.summary["speed/area under val/accuracy"] == pytest.approx(area)
    assert run.params["train"]["batch"] == 20
    assert (run.params["variant"], run.params["seed"], run.params["axes"]) == (
        "static",
        1,
        {"manager": {"name": "static"}},
    )
    assert run.files == {"best.safetensors": folder / "checkpoints" / "best.safetensors"}
    assert {"contributions", "similarity", "worth", "evolution of contributions", "layers/table"} == run.shown.keys()
    assert progress[-1]["done"] == progress[-1]["of"] == progress[-1]["new"] == 5
    received = progress[-1]["sinks"]["notebook"]
    assert (received["done"], received["new"], received["offline"]) == (5, 5, False)
    assert received["place"] in {f"on page {page}" for page in notebook.runs}


def test_a_failed_run_appears_as_failed_and_again_once_it_is_finished(store: Store) -> None:
    run = store.run(run_id(store, "static", 1))
    (run / "result.json").rename(run / "aside.json")
    files.write_json(run / "failure.json", {"kind": "nan", "error": "the loss is nan"})
    notebook = Notebook()
    make_sync(store, notebook)[0].finish()
    failed = notebook.named("static, seed 1")
    assert (failed.failed, failed.summary) == (True, {"failure": "nan", "error": "the loss is nan"})
    assert failed.steps[-1] == 30
    (run / "failure.json").unlink()
    (run / "aside.json").rename(run / "result.json")
    make_sync(store, notebook)[0].finish()
    assert (failed.failed, "val/accuracy" in failed.summary) == (False, True)


def test_the_table_of_layers_lets_variants_be_compared_across_layers(store: Store) -> None:
    notebook = Notebook()
    make_sync(store, notebook)[0].finish()
    table = notebook.named("comparison").shown["comparison/layers"]
    assert isinstance(table, TrackerTable)
    assert table.columns == COLUMNS
    found = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert {(row["variant"], row["seed"]) for row in found} == {(v, s) for v in ("bridge", "static") for s in (0, 1)}
    static = [row for row in found if (row["variant"], row["modality"], row["layer"]) == ("static", "image", 2)]
    assert [row["source"] for row in static] == ["level 1", "level 2", "level 3", "previous 1"] * 2
    assert sum(row["contribution"] for row in static[:4]) == pytest.approx(1)
    assert static[3]["worth"] is None
    assert static[0]["worth"] is not None
    bridge = [row for row in found if (row["variant"], row["modality"], row["layer"]) == ("bridge", "image", 2)]
    assert sum(row["contribution"] for row in bridge[:4]) == pytest.approx(1)


def test_what_was_taken_is_not_sent_again_but_what_is_new_is(store: Store) -> None:
    notebook = Notebook()
    make_sync(store, notebook)[0].finish()
    before = {name: list(run.steps) for name, run in notebook.runs.items()}
    again, told, progress = make_sync(store, notebook)
    again.finish()
    assert (told, progress[-1]["new"]) == ([], 0)
    assert {name: run.steps for name, run in notebook.runs.items()} == before
    lost = notebook.named("static, seed 0")
    del notebook.runs[lost.about.id]
    third, _, progress = make_sync(store, notebook)
    third.finish()
    assert progress[-1]["new"] == 1
    assert notebook.named("static, seed 0").steps == lost.steps


def test_a_copy_that_is_gone_is_sent_again_even_after_an_interruption(store: Store) -> None:
    notebook = Notebook()
    make_sync(store, notebook)[0].finish()
    before = len(notebook.runs)
    notebook.runs.clear()
    notebook.is_lost = lambda: True  # type: ignore[method-assign]
    notebook.holds = bool  # type: ignore[method-assign] # as one that asks for the place alone
    make_sync(store, notebook)[0]  # interrupted before anything was sent
    notebook.is_lost = lambda: False  # type: ignore[method-assign]
    make_sync(store, notebook)[0].finish()
    assert len(notebook.runs) == before


def test_what_is_measured_later_is_sent_later(store: Store) -> None:
    notebook = Notebook()
    make_sync(store, notebook)[0].finish()
    run = run_id(store, "static", 0)
    measured = {"metric": "val/accuracy", "image": {"by": "weights", "uniform": 0.5, "token_mean": 0.5, "without": {}}}
    files.write_json(store.derived(run) / "interventions.json", measured)
    again, _, progress = make_sync(store, notebook)
    again.finish()
    assert progress[-1]["new"] == 2, "the run and the comparison"


def test_a_damaged_run_is_told_and_the_others_go_on(store: Store) -> None:
    path = store.run(run_id(store, "static", 0)) / "result.json"
    path.write_text(path.read_text().replace("0.", "1.", 1))
    notebook = Notebook()
    sync, told, _ = make_sync(store, notebook)
    sync.finish()
    assert len(notebook.runs) >= 3
    assert [line for line in told if line.startswith("static, seed 0 was not sent: ")]
    assert "`mtlab clean --yes` sets the run aside" in told[0]


def test_a_comparison_that_has_changed_is_sent_anew_under_its_name(store: Store) -> None:
    held = (store.run(run_id(store, "static", 1)) / "result.json").read_text()
    (store.run(run_id(store, "static", 1)) / "result.json").unlink()
    notebook = Notebook()
    make_sync(store, notebook)[0].finish()
    assert notebook.named("comparison").summary["runs"] == 3
    (store.run(run_id(store, "static", 1)) / "result.json").write_text(held)
    make_sync(store, notebook)[0].finish()
    compared = notebook.named("comparison")
    assert (compared.steps, compared.summary["runs"]) == ([1, 2], 4)
    # a floor says which variants have learned
    path = next(store.root.glob("studies/*/plan.json")).parent
    store.write_plan(path.name, store.plan(path.name) | {"floor": 99.0})
    make_sync(store, notebook)[0].finish()
    assert notebook.named("comparison").steps == [1, 2, 3]


def unfinished(store: Store, steps: int) -> tuple[Path, list[str]]:
    """Make a run look as if it went on: its lines up to a step, and the lines to come."""
    folder = store.run(run_id(store, "static", 0))
    (folder / "result.json").rename(folder / "result.json.later")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    there = [line for line in lines if json.loads(line)["step"] <= steps]
    (folder / "metrics.jsonl").write_text("".join(there))
    return folder, lines[len(there) :]


def test_steps_of_a_run_that_goes_on_are_sent_as_soon_as_they_are_complete(store: Store) -> None:
    folder, later = unfinished(store, 20)
    notebook = Notebook(live=True)
    sync, told, _ = make_sync(store, notebook)
    sync.poll()
    run = notebook.named("static, seed 0")
    assert run.steps == [0, 1, 2, 5, 10]  # of step 20, validation may still be to come
    assert run.failed is None
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.writelines(later)
    sync.poll()
    assert run.steps == [0, 1, 2, 5, 10, 20]
    (folder / "result.json.later").rename(folder / "result.json")
    sync.finish()
    assert run.steps == [0, 1, 2, 5, 10, 20, 30]
    assert (run.failed, "contributions" in run.shown, told) == (False, True, [])


def test_a_run_that_is_killed_and_resumed_loses_and_doubles_no_step(store: Store) -> None:
    """The worker falls back behind what was sent, as its checkpoint is older; the follower is killed, too."""
    folder, later = unfinished(store, 20)
    notebook = Notebook(live=True)
    make_sync(store, notebook)[0].poll()
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text(lines[0])  # cut back to step 10
    second, _, _ = make_sync(store, notebook)
    second.poll()
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.writelines([*lines[1:], *later])
    second.poll()
    (folder / "result.json.later").rename(folder / "result.json")
    second.finish()
    assert notebook.named("static, seed 0").steps == [0, 1, 2, 5, 10, 20, 30]


def test_a_run_that_did_not_finish_is_ended_as_failed_and_goes_on_later(store: Store) -> None:
    folder, later = unfinished(store, 20)
    notebook = Notebook(live=True)
    first, _, _ = make_sync(store, notebook)
    first.poll()
    first.finish()
    run = notebook.named("static, seed 0")
    assert run.failed is True
    assert not (store.derived(run_id(store, "static", 0)) / "tracking").exists()
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.writelines(later)
    (folder / "result.json.later").rename(folder / "result.json")
    make_sync(store, notebook)[0].finish()
    assert (run.failed, run.steps) == (False, [0, 1, 2, 5, 10, 20, 30])


def test_afterwards_a_run_that_goes_on_elsewhere_is_left_alone(store: Store) -> None:
    unfinished(store, 20)
    notebook = Notebook(live=True)
    sync, told, progress = make_sync(store, notebook)
    sync.finish()
    assert "static, seed 0" not in [run.about.name for run in notebook.runs.values()]
    assert (told, progress[-1]["done"], progress[-1]["of"]) == ([], 4, 4)


def test_a_trial_that_was_pruned_has_not_failed_and_is_not_waited_for(store: Store) -> None:
    store.write_plan("tracked", store.plan("tracked") | {"kind": "sweep"})
    (store.run(run_id(store, "static", 1)) / "result.json").unlink()
    notebook = Notebook(live=True)
    sync, told, progress = make_sync(store, notebook)
    sync.finish()
    pruned = notebook.named("static, seed 1")
    assert (pruned.failed, pruned.steps[-1], pruned.summary) == (False, 20, {})
    complete = notebook.named("static, seed 0").summary
    assert "val/accuracy" in complete
    assert not any(name.startswith("test/") for name in complete)  # a search sees no test data
    assert (told, progress[-1]["done"], progress[-1]["of"]) == ([], 4, 4)


@pytest.mark.parametrize("call", ["start", "log", "close"])
def test_a_tracker_that_fails_is_told_and_left_out_and_the_others_go_on(store: Store, call: str) -> None:
    broken, fine = Notebook("broken", fails=call), Notebook("fine")
    sync, told, progress = make_sync(store, broken, fine)
    sync.finish()
    assert told == [
        f"broken: bridge, seed 0 was not sent: no {call} today",
        f"broken: 4 more not sent: no {call} today",
    ]
    assert len(fine.runs) == 5
    assert {name: received["done"] for name, received in progress[-1]["sinks"].items()} == {"broken": 0, "fine": 5}
    assert fine.named("static, seed 1").failed is False
    assert progress[-1]["done"] == 0
    broken.fails = ""
    second, told, progress = make_sync(store, broken, fine)
    second.finish()
    assert (told, progress[-1]["done"], len(broken.runs)) == ([], 5, 5)


def test_a_run_that_went_on_live_in_one_place_gets_whole_to_the_others(store: Store) -> None:
    unfinished(store, 20)
    live, patient = Notebook("live", live=True), Notebook("patient", checkpoints=True)
    sync, told, progress = make_sync(store, live, patient)
    sync.poll()
    assert [run.about.name for run in live.runs.values()].count("static, seed 0") == 1
    assert "static, seed 0" not in [run.about.name for run in patient.runs.values()]
    folder = store.run(run_id(store, "static", 0))
    (folder / "result.json.later").rename(folder / "result.json")
    sync.finish()
    assert live.named("static, seed 0").steps == patient.named("static, seed 0").steps
    assert (len(live.named("static, seed 0").files), len(patient.named("static, seed 0").files)) == (0, 1)
    assert (told, progress[-1]["done"]) == ([], 5)


def test_a_run_that_fails_is_ended_as_failed_where_it_went_on_live_and_elsewhere(store: Store) -> None:
    folder, _ = unfinished(store, 20)
    live, patient = Notebook("live", live=True), Notebook("patient")
    sync, told, _ = make_sync(store, live, patient)
    sync.poll()
    files.write_json(folder / "failure.json", {"kind": "nan", "error": "the loss is nan"})
    sync.finish()
    for notebook in (live, patient):
        run = notebook.named("static, seed 0")
        assert (run.failed, run.summary["failure"]) == (True, "nan")
    assert live.named("static, seed 0").steps == patient.named("static, seed 0").steps
    assert told == []


def test_a_fan_hands_everything_to_everybody() -> None:
    first, second = Notebook(name="first"), Notebook(name="second")
    fan = TrackerGroup({sink.name: sink.tracker() for sink in (first, second)}, lambda *_: None)
    fan.start(TrackedRun("x", "study", "name", "run"))
    fan.params({"a": 1})
    fan.log(3, {"b": 2.0}, {})
    assert fan.close({"c": 3}, {}) == {"first": {"id": "x"}, "second": {"id": "x"}}
    assert first.runs == second.runs
    assert first.runs["x"].values == [{"b": 2.0}]


def test_rows_join_metrics_and_recorded_layers_by_step(store: Store) -> None:
    run = run_id(store, "static", 0)
    found = read_step_metrics(store, run)
    assert list(found) == sorted(found) == [0, 1, 2, 5, 10, 20, 30]
    assert {"train/loss", "val/accuracy", "contribution/text/level 1", "gradient/encoder"} <= found[20].keys()
    assert "train/loss" not in found[10]
    assert not any(name.startswith("gradient") for name in found[0])  # not a number there
    assert list(read_complete_steps(store, run)) == [0, 1, 2, 5, 10, 20]
    assert read_complete_steps(store, "nothing/s0") == {}


def test_runs_that_recorded_nothing_are_handed_on_as_they_are(store: Store) -> None:
    for run in store.root.glob("cells/*/s*"):
        for name in ("layers", "trace", "tokens"):
            (run / f"{name}.safetensors").unlink()
    notebook = Notebook()
    sync, told, _ = make_sync(store, notebook)
    sync.finish()
    assert told == []
    run = notebook.named("static, seed 0")
    assert (run.steps, run.shown) == ([10, 20, 30], {})
    assert "test/accuracy" in run.summary


def test_without_a_browser_figures_are_sent_without_pictures(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtlab.errors import UserError
    from mtlab.report.figures import render

    def none(_: object) -> list[bytes]:
        raise UserError("pictures of figures need Chrome or Chromium on this machine")

    monkeypatch.setattr(render, "render_images", none)
    notebook = Notebook(images=True)
    sync, told, _ = make_sync(store, notebook)
    sync.finish()
    assert told == ["figures are sent without pictures: pictures of figures need Chrome or Chromium on this machine"]
    drawn = notebook.named("static, seed 0").shown["contributions"]
    assert isinstance(drawn, TrackerFigure)
    assert drawn.png is None
    unasked, told, _ = make_sync(store, Notebook(images=None))
    unasked.finish()
    assert told == []


def test_a_tracker_that_wants_no_pictures_gets_none_where_another_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtlab.report.figures import render

    monkeypatch.setattr(render, "render_images", lambda drawn: [b"png"] * len(drawn))
    plain, pictured = Notebook("plain", images=False), Notebook("pictured", images=True)
    make_sync(store, plain, pictured)[0].finish()
    for notebook, png in ((plain, None), (pictured, b"png")):
        drawn = notebook.named("static, seed 0").shown["contributions"]
        assert isinstance(drawn, TrackerFigure)
        assert drawn.png == png
