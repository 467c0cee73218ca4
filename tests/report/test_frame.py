"""Runs and examples as tables."""

import json
from pathlib import Path

import polars as pl
import pytest
from fabric import Fabric

from mtlab.errors import UserError
from mtlab.report import frame
from mtlab.runs.store import Store


def test_one_row_per_run_with_everything_known_of_it(four):
    plan = four.plan(["last", "bridge", "static", "adaptive"])
    runs = frame.run_frame(four.store, plan)
    assert runs.shape[0] == 20
    row = runs.row(by_predicate=pl.col("run") == "static/s3", named=True)
    assert (row["cell"], row["seed"], row["label"], row["state"], row["axis/manager"]) == (
        *("static", 3, "static", "done", "static"),
    )
    assert abs(row["test/accuracy"] - 0.82) < 0.002
    assert {"test/accuracy/colour", "val/loss", "train/loss"} <= row.keys()
    assert row["cost/params"] == 10_000
    assert row["cost/params/managers"] == 6_000
    assert (row["cost/flops"], row["cost/seconds"], row["cost/memory"]) == (1.4e7, 43.0, 500.0)
    assert (row["mix/device"], row["mix/threads"], row["mix/code"]) == ("cpu", 1, "c0de")


def test_of_a_search_test_data_are_not_shown(four):
    plan = four.plan(["last", "bridge", "static", "adaptive"])
    columns = frame.run_frame(four.store, plan | {"kind": "sweep"}).columns
    assert "val/accuracy" in columns
    assert not any(name.startswith("test/") for name in columns)


def test_unfinished_runs_keep_their_row(fabric):
    fabric.finish("bridge", 0, 0.7)
    fabric.fail("bridge", 1)
    fabric.start("static", 0)
    runs = frame.run_frame(fabric.store, fabric.plan(["bridge", "static"], seeds=2))
    assert runs["state"].to_list() == ["done", "failed", "interrupted", "new"]
    assert runs["test/accuracy"].is_null().to_list() == [False, True, True, True]


def test_a_plan_of_which_nothing_ran(fabric):
    plan = fabric.plan(["bridge", "static"], seeds=2)
    assert frame.run_frame(fabric.store, plan)["state"].to_list() == ["new"] * 4
    outcomes = frame.outcome_frame(fabric.store, plan)
    assert outcomes.is_empty()
    fabric.finish("bridge", 0, 0.7)
    assert outcomes.schema == frame.outcome_frame(fabric.store, plan).schema


def test_a_folder_may_have_any_name(tmp_path):
    made = Fabric(Store.open(tmp_path / "runs[1]", create=True))
    made.finish("bridge", 0, 0.7)
    assert frame.outcome_frame(made.store, made.plan(["bridge"], seeds=1)).height == 2 * made.examples


def test_axis_values_of_several_types_are_told_as_json(fabric):
    plan = fabric.plan(["a", "b", "c"], seeds=1, baseline=None)
    for run, layers in zip(plan["runs"], ["all", [1, 2], 3], strict=True):
        run["axes"] = {"vision.layers": layers, "model.width": 64}
    runs = frame.run_frame(fabric.store, plan)
    assert runs["axis/vision.layers"].to_list() == ["all", "[1, 2]", "3"]
    assert runs["axis/model.width"].to_list() == [64, 64, 64]


def test_examples_are_those_of_finished_runs(four):
    four.finish("bridge", 5, 0.7)
    (four.store.run("bridge/s5") / "result.json").unlink()  # cut off between outcomes and result
    plan = four.plan(["bridge", "static"], seeds=6)
    outcomes = frame.outcome_frame(four.store, plan, split="test")
    assert outcomes.height == 10 * four.examples
    assert outcomes.columns == [
        "run",
        "cell",
        "seed",
        "label",
        "split",
        "id",
        "family",
        "cluster",
        "target",
        "prediction",
        "score",
    ]
    by_run = dict(outcomes.group_by("run").agg(pl.col("score").mean()).iter_rows())
    result = json.loads((four.store.run("static/s1") / "result.json").read_text())
    assert by_run["static/s1"] == result["metrics"]["test/accuracy"]
    assert frame.outcome_frame(four.store, plan).height == 20 * four.examples


def test_a_table_of_runs_reads_no_file_of_outcomes_and_no_file_twice(fabric, monkeypatch):
    """What makes a thousand runs a matter of a second."""
    cells = [f"c{number:03d}" for number in range(12)]
    for cell in cells:
        for seed in range(5):
            fabric.finish(cell, seed, 0.7)
    plan = fabric.plan(cells, baseline="c000")
    opened = []
    opens = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *rest, **more: (opened.append(path), opens(path, *rest, **more))[1])
    monkeypatch.setattr(pl, "read_parquet", lambda path, *_, **__: opened.append(path))
    assert frame.run_frame(fabric.store, plan).height == 60
    assert 60 <= len(opened) == len(set(opened))
    assert not [path for path in opened if path.suffix == ".parquet"]
    monkeypatch.undo()
    assert frame.outcome_frame(fabric.store, plan, split="test").height == 60 * fabric.examples


def test_a_damaged_file_of_outcomes_is_told_in_one_line(four):
    plan = four.plan(["static", "bridge"])
    path = four.store.run("static/s1") / "examples.parquet"
    whole = path.read_bytes()
    for changed in (b"else", whole[: len(whole) // 2]):
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"static/s1/examples\.parquet: has changed since") as told:
            frame.outcome_frame(four.store, plan)
        assert (told.value.file, "\n" in str(told.value)) == (path, False)
