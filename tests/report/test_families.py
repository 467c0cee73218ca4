"""By family: the statistics of the whole table, corrected over all of its places."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy import optimize, stats
from test_report import drawn

from mtlab.report import frame
from mtlab.report.comparison.families import compare_families
from mtlab.report.formats.csv_table import FAMILY_COLUMNS
from mtlab.report.study_report import build_report
from mtlab.runs.results import write_result
from mtlab.statistics.correction import holm

CELLS = ["last", "bridge", "static", "adaptive"]
FAMILIES = ["colour", "count", "existence"]


def p_by_hand(fabric, cell, family):
    def scores(which):
        rows = [fabric.outcomes(which, seed).filter(family=family).sort("id")["score"].to_numpy() for seed in range(5)]
        return np.array(rows)

    gaps = scores(cell) - scores("bridge")
    seeds, examples = gaps.shape
    chance = gaps - gaps.mean(axis=0) - gaps.mean(axis=1, keepdims=True) + gaps.mean()
    of_seeds = gaps.mean(axis=1).var(ddof=1) / seeds
    of_chance = (chance**2).sum() / ((seeds - 1) * (examples - 1)) / seeds / examples
    of_examples = max(0.0, gaps.mean(axis=0).var(ddof=1) / examples - of_chance) + 4 / examples**2

    def beyond(p):
        quantiles = [stats.t.isf(p / 2, df) for df in (seeds - 1, examples - 1)]
        return quantiles[0] ** 2 * of_seeds + quantiles[1] ** 2 * of_examples - gaps.mean() ** 2

    return optimize.brentq(beyond, 1e-12, 1 - 1e-12)


def test_every_p_is_that_of_the_tables_test_and_corrected_over_families_and_variants(four):
    report = build_report(four.store, four.plan(CELLS))
    places = [(family, cell) for family in FAMILIES for cell in ("last", "static", "adaptive")]
    expected = [p_by_hand(four, cell, family) for family, cell in places]
    rows = {(family, row.cell): row for family, found in report.families.items() for row in found}
    assert [rows[place].difference.p for place in places] == pytest.approx(expected)
    assert [rows[place].p_corrected for place in places] == pytest.approx(holm(expected))
    assert report.family_comparisons == 9
    assert replace(report, families={}).family_comparisons == 9  # as where a page shows some variants alone
    assert {rows[family, "bridge"].outcome for family in FAMILIES} == {"baseline"}
    assert {rows[family, "static"].examples for family in FAMILIES} == {100}


def test_families_are_counted_from_outcomes_where_the_task_reports_none(four):
    reported = build_report(four.store, four.plan(CELLS)).families
    for cell in CELLS:
        for seed in range(5):
            path = four.store.run(f"{cell}/s{seed}") / "result.json"
            result = json.loads(path.read_text())
            result["metrics"] = {name: value for name, value in result["metrics"].items() if name.count("/") == 1}
            write_result(path.parent, result)
    counted = build_report(four.store, four.plan(CELLS)).families
    assert list(counted) == FAMILIES
    for family in FAMILIES:
        for one, other in zip(reported[family], counted[family], strict=True):
            assert one.mean.mean == pytest.approx(other.mean.mean)
            assert one.p_corrected == (None if other.p_corrected is None else pytest.approx(other.p_corrected))
    # Outcomes of accuracy say nothing of a loss by family.
    plan = four.plan(CELLS)
    plan["metrics"] = plan["metrics"] | {"verdict": "test/loss"}
    assert build_report(four.store, plan).families == {}


def test_a_given_floor_withholds_comparisons_of_what_has_not_learned_over_all_families(four):
    report = build_report(four.store, four.plan(CELLS) | {"floor": 61})
    untrained = {row.label for row in report.rows if row.outcome == "not learned"}
    assert untrained == {"last"}
    outcomes = {label: {rows[CELLS.index(label)].outcome for rows in report.families.values()} for label in CELLS}
    assert outcomes["last"] == {"not learned"}
    assert report.family_comparisons == 6
    above_all = build_report(four.store, four.plan(CELLS) | {"floor": 99})
    assert {row.outcome for rows in above_all.families.values() for row in rows} == {"not learned"}


def test_a_family_of_parents_alone_is_none_of_the_table(four):
    plan = four.plan(CELLS)
    runs, outcomes = frame.run_frame(four.store, plan), frame.outcomes_by_cell(four.store, plan, split="test")
    found = compare_families(runs.with_columns(pl.lit(None, pl.Float64).alias("test/accuracy/place")), outcomes, plan)
    assert list(found) == FAMILIES
    assert found == compare_families(runs, outcomes, plan)


def test_families_of_other_questions_are_no_comparisons(fabric, monkeypatch):
    """Each data set has families of its own: Holm counts those that a variant and its baseline may have."""
    for cell in ("bridge", "static", "last"):
        for seed in range(3):
            fabric.finish(cell, seed, 0.6 + 0.02 * seed + 0.01 * len(cell))
    with monkeypatch.context() as patched:
        patched.setattr("fabric.FAMILIES", ["texture", "place", "letter"])
        for cell in ("bridge_b", "static_b"):
            for seed in range(3):
                fabric.finish(cell, seed, 0.6 + 0.02 * seed + 0.01 * len(cell))
    plan = fabric.plan(["bridge", "static", "last", "new", "bridge_b", "static_b"], seeds=3)
    for row in plan["rows"][-2:]:
        row["compare_to"] = "bridge_b" if row["cell"] == "static_b" else None
    report = build_report(fabric.store, plan)
    assert len(report.families) == 6
    compared = {(name, row.cell) for name, rows in report.families.items() for row in rows if row.compared}
    asked = {(name, "new") for name in report.families if name in FAMILIES}
    assert compared == {(name, cell) for name in FAMILIES for cell in ("static", "last")} | asked | {
        (name, "static_b") for name in ("texture", "place", "letter")
    }
    assert report.family_comparisons == len(compared)
    lines = csv.DictReader(io.StringIO(report.to_csv(by_family=True)))
    assert {(line["family"], line["cell"]) for line in lines if line["compare_to"]} == compared


def test_all_formats_show_the_same_cells(fabric):
    fabric.examples = 3000
    for cell, accuracy in {"last": 0.5, "bridge": 0.7, "static": 0.8, "adaptive": 0.7}.items():
        for seed in range(5):
            fabric.finish(cell, seed, accuracy + 0.004 * ((seed * len(cell)) % 5))
    report = build_report(fabric.store, fabric.plan(CELLS))
    static = report.families["colour"][2].mean
    mean = f"{100 * static.mean:.1f} ± {100 * (static.mean - static.interval[0]):.1f}"
    console = shown(report)
    for text in (console, report.to_markdown(by_family=True), report.to_latex(by_family=True).replace("\\pm", "±")):
        assert mean in text
        assert all(family in text for family in FAMILIES)
        assert "9 comparisons over all families and variants" in " ".join(text.split())
    lines = list(csv.DictReader(io.StringIO(report.to_csv(by_family=True))))
    assert tuple(lines[0]) == FAMILY_COLUMNS
    assert [(line["family"], line["cell"]) for line in lines] == [(f, c) for f in FAMILIES for c in CELLS]
    assert float(lines[2]["mean"]) == report.families["colour"][2].mean.mean
    marked = [line for line in lines if line["outcome"] in ("better", "worse")]
    assert marked
    assert console.count("†") + console.count("‡") == len(marked) + 2  # and the caption's
    assert "Holm" in console


def shown(report):
    console = Console(width=120, file=io.StringIO())
    console.print(report.to_table(120, by_family=True))
    return console.file.getvalue()


def test_families_of_any_name_head_their_columns(fabric, monkeypatch):
    names = ["colour [easy]", "[/b]", "[red]"]
    monkeypatch.setattr("fabric.FAMILIES", names)
    for cell in ("bridge", "static"):
        fabric.finish(cell, 0, 0.7)
    console = shown(build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=1)))
    assert all(name in console for name in names)


def test_without_families_all_formats_say_so(fabric):
    report = build_report(fabric.store, fabric.plan(CELLS))
    assert "No results by family" in report.to_markdown(by_family=True)
    assert report.to_latex(by_family=True).startswith("% No results by family")
    assert report.to_csv(by_family=True).strip().split(",") == list(FAMILY_COLUMNS)
    assert "No results by family" in shown(report)
    assert drawn(report, 80)
