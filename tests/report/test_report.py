"""A report as people and programs read it: JSON against its documentation, tables that fit, Markdown that parses."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from mtlab.report.formats import captions
from mtlab.report.study_report import build_report
from mtlab.runs.results import write_result

CELLS = ["last", "bridge", "static", "adaptive"]
DOCS = Path(__file__).parents[2] / "docs" / "report-json.md"


def drawn(report, width):
    console = Console(width=width, file=io.StringIO())
    console.print(report.to_table(width))
    return console.file.getvalue()


def documented(section):
    text = DOCS.read_text(encoding="utf-8").partition(f"## {section}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)`", text, flags=re.M))


@pytest.fixture
def ragged(fabric):
    """Give a study of which little has run, with a long label, two seeds and further metrics."""
    for cell, accuracies in {"bridge": (0.7, 0.73), "static": (0.8, 0.77), "last": (0.6,)}.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy, device=f"cuda ({seed})")
    fabric.fail("last", 1)
    plan = fabric.plan([*CELLS, "none"], seeds=3, published={"test/accuracy": 74.5, "val/accuracy": 0.8})
    plan["metrics"]["report"] = ["cost/params", "test/loss", "cost/seconds"]
    plan["rows"][2]["label"] = "static-scalar, vision.layers=top3, model.cross_layers=4"
    return build_report(fabric.store, plan)


def test_json_keys_are_those_documented(ragged):
    data = json.loads(ragged.to_json())
    assert data == json.loads(json.dumps(ragged.to_dict()))
    assert data.keys() == documented("Report")
    for row in data["rows"]:
        assert row.keys() == documented("A row")
        assert row["cost"].keys() == documented("Cost")
    described = next(line for line in DOCS.read_text(encoding="utf-8").splitlines() if "`families`" in line)
    for row in data["families"]["count"]:
        assert row.keys() == set(re.findall(r"`(\w+)`", described)) - {"families"}


def test_runs_that_others_start_from_count_no_examples_and_set_no_target(four):
    runs = four.plan(CELLS)["runs"]
    alone = build_report(four.store, four.plan(CELLS))
    four.examples = 90
    four.finish("parent", 0, 0.9)
    result = four.store.run("parent/s0") / "result.json"
    written = json.loads(result.read_text())
    written["metrics"] |= {"val/accuracy_floor": 0.65, "val/accuracy_floor_error": 0.01}
    write_result(result.parent, written)
    for cell in CELLS:
        rows = [{"step": 100 * n, "seconds": n, "val/accuracy": 0.3 + 0.1 * n} for n in range(1, 5)]
        (four.store.run(f"{cell}/s0") / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    report = build_report(four.store, four.plan(CELLS, runs=[*four.plan(["parent"], seeds=1)["runs"], *runs]))
    assert (alone.examples, report.examples, report.runs["asked"]) == (300, 300, 20)
    assert report.speed.targets[0].start_name == "the mean at the first validation"


def test_json_says_what_happened(four):
    data = build_report(four.store, four.plan(CELLS)).to_dict()
    rows = {row["label"]: row for row in data["rows"]}
    assert list(rows) == CELLS
    assert data["runs"] == {"asked": 20, "done": 20}
    assert data["baseline"] == {"cell": "bridge", "label": "bridge"}
    static = rows["static"]
    assert static["interval"][0] < static["mean"] < static["interval"][1]
    assert static["difference_interval"][0] < static["difference"] < static["difference_interval"][1]
    assert static["p"] < static["p_corrected"] < 0.05
    assert static["config_differences"] == {"manager.name": "static"}
    assert static["compare_to"] == {"cell": "bridge", "label": "bridge"}
    assert static["cost"]["seconds"] == 42.0
    assert rows["bridge"]["difference"] is None


@pytest.mark.parametrize("width", [64, 80, 100, 120, 160])
def test_tables_fit_and_lose_no_number(ragged, width):
    shown = drawn(ragged, width)
    assert max(cell_len(line) for line in shown.splitlines()) <= width
    assert "…" not in shown
    for expected in ("78.5 [", "+7.0 ± ", "no difference", "14.0 M", "406 k", "(p = ", "none"):
        assert expected in shown


def test_a_plot_is_drawn_at_100_columns_and_left_out_at_80(four):
    report = build_report(four.store, four.plan(CELLS))
    assert drawn(report, 100).count("●") == 4
    assert "┊" in drawn(report, 100)
    assert "●" not in drawn(report, 80)
    assert "5/5" in drawn(report, 80)


def test_dots_stand_in_the_order_of_means(four):
    lines = drawn(build_report(four.store, four.plan(CELLS)), 140).splitlines()
    at = {label: next(line.index("●") for line in lines if line.startswith(label)) for label in CELLS}
    assert at["last"] < at["bridge"] <= at["adaptive"] < at["static"]


def test_the_caption_says_how_the_numbers_were_made(four):
    for text in (
        drawn(build_report(four.store, four.plan(CELLS)), 400),
        build_report(four.store, four.plan(CELLS)).to_markdown(),
    ):
        for expected in (
            "n = 5 seeds",
            "95% t interval",
            "paired t test over seeds",
            "Holm for 3 comparisons",
            "bridge",
        ):
            assert expected in text


def test_a_caption_names_no_more_baselines_than_one_reads(four):
    report = build_report(four.store, four.plan(CELLS))
    rows = [
        replace(report.rows[0], label=f"row {at}", compare_to="x", compare_label=f"baseline {at % 9}", block=f"{at}")
        for at in range(12)
    ]
    told = captions.explain_marks(replace(report, rows=tuple(rows)), 12)
    assert "(one of baseline 0, baseline 1, baseline 2, baseline 3, baseline 4, baseline 5, 3 more)" in told


def test_published_results_are_told_apart(ragged):
    shown = drawn(ragged, 200)
    assert "Published test/accuracy: 74.5 (not run here, not tested against); our best, static-scalar" in shown
    assert "Published val/accuracy: 80.0" in shown
    published = ragged.to_dict()["published"][0]
    assert published["value"] == 74.5
    assert published["best"] == pytest.approx(0.785, abs=0.001)


def test_markdown_tables_are_rectangular(ragged):
    for block in re.findall(r"(?:^\|.*\n?)+", ragged.to_markdown(), flags=re.M):
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1
    assert "| static-scalar, vision.layers=top3" in ragged.to_markdown().replace("**", "")
    assert "- failed: last (seed 1)" in ragged.to_markdown()


@pytest.mark.parametrize("baseline", ["bridge", None])
@pytest.mark.parametrize("cells", [["bridge"], ["bridge", "static"]])
@pytest.mark.parametrize("seeds", [0, 1])
def test_anything_renders(fabric, cells, baseline, seeds):
    """Nothing run, one seed, one row, no baseline."""
    for seed in range(seeds):
        fabric.finish("bridge", seed, 0.7, outcomes=False)
    report = build_report(fabric.store, fabric.plan(cells, seeds=1, baseline=baseline))
    for width in (60, 80, 100):
        assert "bridge" in drawn(report, width)
    assert "bridge" in report.to_markdown()
    json.loads(report.to_json())
    assert ("verdict" in drawn(report, 100)) == (baseline is not None and len(cells) == 2)


def test_a_metric_that_is_no_share_is_shown_as_it_is(four):
    plan = four.plan(CELLS)
    plan["metrics"] = plan["metrics"] | {"verdict": "test/loss"}
    shown = drawn(build_report(four.store, plan), 100)
    assert "0.196 ± 0.026" in shown
    assert "in points" not in shown


def test_a_report_imports_neither_torch_nor_pandas(four):
    (four.store.root / "plan.json").write_text(json.dumps(four.plan(CELLS)))
    code = (
        "import json, sys; from pathlib import Path; from mtlab.runs.store import Store;"
        "from mtlab.report.study_report import build_report; from rich.console import Console;"
        "root = Path(sys.argv[1]); plan = json.loads((root / 'plan.json').read_text());"
        "report = build_report(Store.open(root), plan);"
        "Console().print(report.to_table(80));"
        "print(sorted({'torch', 'pandas', 'statsmodels', 'scipy.stats', 'timm', 'transformers'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(four.store.root)], check=True, capture_output=True, text=True
    )
    assert shown.stdout.splitlines()[-1] == "[]"


def test_a_hundred_variants(fabric):
    cells = ["bridge", *(f"c{number:03d}" for number in range(99))]
    for cell in cells:
        for seed in range(5):
            fabric.finish(cell, seed, 0.6 + 0.01 * seed)
    report = build_report(fabric.store, fabric.plan(cells))
    assert len(report.rows) == 100


def test_lost_configurations_are_told_even_where_no_run_has_one(fabric):
    (fabric.finish("bridge", 0, 0.7) / "config.json").unlink()
    (note,) = build_report(fabric.store, fabric.plan(["bridge"], seeds=1)).notes
    assert note.startswith("bridge, seed 0 (bridge/s0): config.json is lost: ")
