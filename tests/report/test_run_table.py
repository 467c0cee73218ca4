"""`mtlab report --by run`: each run with its metrics, its area, its cost and its commit."""

import io
import json
import sys

import polars as pl
import pytest
import runs_table
from calling import here
from polars.testing import assert_frame_equal
from rich.console import Console

import mtlab
from mtlab.cli import main
from mtlab.report.formats.tables import ReportTable, TableCell
from mtlab.report.formats.terminal import simple_table
from mtlab.report.study_report import build_report


@pytest.fixture
def study(fabric):
    """Two runs that are finished, one of them validated three times, and one that failed."""
    for cell, accuracy in (("bridge", 0.7), ("static", 0.8)):
        fabric.finish(cell, 0, accuracy)
    fabric.fail("bridge", 1)
    curve = [{"step": step, "val/accuracy": value} for step, value in ((200, 0.4), (400, 0.6), (800, 0.8))]
    (fabric.store.run("static/s0") / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    fabric.store.write_plan("trial", fabric.plan(["bridge", "static"], seeds=2))
    return fabric


def test_a_sweep_that_has_not_begun_has_no_runs_and_hides_no_others(study, monkeypatch, capsys):
    store = study.store
    store.write_plan("hunt", study.plan([]) | {"study": "hunt", "kind": "sweep"})
    call = here(monkeypatch, capsys)
    assert call("report", "hunt", "--by", "run", "--format", "json", "--store", store.root)[:2] == (0, "[]\n")
    code, out, _ = call("report", "hunt", "--by", "run", "--store", store.root)
    assert (code, out.startswith("hunt: 0 runs")) == (0, True)
    runs = mtlab.frame(store.root)
    assert_frame_equal(runs, mtlab.frame(store.root, "trial"), check_column_order=False)
    assert mtlab.frame(store.root, "hunt").columns == ["run", "study", "cell", "seed", "label", "state", "area"]
    code, _, said = call("logs", "hunt", "--store", store.root)
    assert (code, said) == (
        2,
        f"error: sweep 'hunt' has no run yet: `mtlab sweep trial.yaml --store {store.root}` begins it\n",
    )


@pytest.fixture
def report(study, monkeypatch, capsys):
    """Call `mtlab report trial --by run …`; give exit code, output and errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mtlab", "report", "trial", "--by", "run", "--store", str(study.store.root)])
        sys.argv += [str(word) for word in words]
        code = main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_the_area_is_the_mean_height_of_the_curve(study):
    runs = mtlab.frame(study.store.root)
    areas = dict(runs.select("run", "area").iter_rows())
    assert areas["static/s0"] == pytest.approx((200 * 0.5 + 400 * 0.7) / 600)
    assert areas["bridge/s1"] is None


def test_the_area_of_a_run_that_stopped_early_reaches_to_the_planned_end_as_in_the_report(study):
    path = study.store.run("static/s0") / "config.json"
    planned = {"train": {"length": {"steps": 1600}}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": planned}))
    plan = study.plan(["bridge", "static"], seeds=2)
    for run in plan["runs"]:
        run["cost"]["steps"] = 1600
    (_, static) = build_report(study.store, plan).speed.rows
    runs = mtlab.frame(study.store.root)
    assert runs.filter(run="static/s0")["area"].item() == static.areas[0] == pytest.approx((380 + 800 * 0.8) / 1400)


def test_the_terminal_shows_a_line_for_each_run(report):
    code, out, _ = report()
    assert code == 0
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if "/s" in line}
    assert lines["static/s0"][:5] == ["static", "done", "81.0", "80.0", "63.3"]
    assert lines["bridge/s1"][:3] == ["bridge", "failed", "—"]
    assert "mtlab report trial --by run --format csv" in out


@pytest.mark.parametrize("width", [80, 64])
def test_a_narrow_terminal_folds_text_and_cuts_no_number(width):
    numbers = ("81.8", "82.4", "75.2", "1200", "23.5 s")
    line = ("408d1e976ce0/s0", "adaptive · 0.001", "interrupted", *numbers)
    header = ("run", "variant", "state", "val/accuracy", "test/accuracy", "area", "best step", "time")
    table = ReportTable(header, (tuple(map(TableCell, line)),), frozenset({0, 1, 2}))
    console = Console(file=io.StringIO(), width=width)
    console.print(simple_table(table, width))
    shown = next(line for line in console.file.getvalue().splitlines() if "81.8" in line)
    assert shown.split()[-6:] == " ".join(numbers).split()


def test_files_have_all_columns(study, report, tmp_path):
    assert report("--out", tmp_path / "runs.csv")[0] == 0
    runs = mtlab.frame(study.store.root, "trial")
    written = pl.read_csv(tmp_path / "runs.csv", infer_schema_length=None)
    assert written.columns == runs.columns
    shared = ["run", "label", "state", "test/accuracy", "area", "cost/seconds", "mix/git"]
    assert_frame_equal(written.select(shared), runs.select(shared), check_dtypes=False)
    assert json.loads(report("--json")[1]) == json.loads(json.dumps(runs.to_dicts()))


def test_another_format_is_refused(report):
    code, _, err = report("--format", "tex")
    assert code == 2
    assert "--by run has no format 'tex'; it has csv, json" in err


def test_the_published_table_names_each_run_and_what_it_scored(study):
    runs = runs_table.runs_table(str(study.store.root), "trial")
    assert runs.columns[:6] == ["run", "label", "seed", "steps", "best_step", "val/accuracy"]
    assert {"area", "test/accuracy/colour", "cost/seconds", "mix/git"} <= set(runs.columns)
    row = runs.row(by_predicate=pl.col("run") == "static/s0", named=True)
    assert (row["label"], row["test/accuracy"], row["mix/git"]) == ("static", 0.8, "a" * 10)
