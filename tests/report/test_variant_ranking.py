"""Rankings: all pairs by the study's test, corrected together, and what has no place."""

import csv
import io
import json
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from mtlab.cli import main
from mtlab.errors import UserError
from mtlab.report.comparison.ranking import rank_variants
from mtlab.report.figures import ranking as ranking_figure
from mtlab.report.figures.ranking import plot_ranking
from mtlab.report.formats import captions
from mtlab.report.formats.ranking_table import caption, render_text, to_dict
from mtlab.report.study import StudyResults
from mtlab.report.study_report import build_report
from mtlab.statistics.correction import holm

CELLS = ["last", "bridge", "static", "adaptive"]


def ranked(fabric, plan):
    return StudyResults(fabric.store, plan).ranking


def split_questions(plan):
    """Let `static` and `adaptive` answer questions of another data set, and be compared with each other alone."""
    for row, baseline in zip(plan["rows"][2:], (None, "static"), strict=True):
        row.update(questions="other", baseline=baseline is None, compare_to=baseline)


def test_the_best_mean_is_that_of_rows_on_the_same_questions(four):
    plan = four.plan(CELLS)
    alone = build_report(four.store, plan)
    assert [row.label for row in alone.rows if row.best] == ["static"]
    assert "★ best mean, shown to be better or not." in captions.table_caption(alone)
    split_questions(plan)
    report = build_report(four.store, plan)
    assert [row.label for row in report.rows if row.best] == ["bridge", "static"]
    assert "best mean of the rows with the same questions" in captions.table_caption(report)
    assert "Bold: highest mean of the rows with the same questions" in captions.paper_caption(report)


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["mtlab", *map(str, words)])
    return main()


def test_all_pairs_are_compared_as_the_report_compares_one_with_its_baseline(four):
    ranking = ranked(four, four.plan(CELLS))
    assert [(one.row.label, one.letters) for one in ranking.variants] == [
        ("static", "a"),
        ("adaptive", "b"),
        ("bridge", "b"),
        ("last", "c"),
    ]
    reported = {row.cell: row.difference.p for row in build_report(four.store, four.plan(CELLS)).rows if row.difference}
    found = {(pair.better, pair.worse): pair for pair in ranking.pairs}
    assert found["static", "bridge"].difference.p == pytest.approx(reported["static"])
    assert found["bridge", "last"].difference.p == pytest.approx(reported["last"])
    assert [pair.p_corrected for pair in ranking.pairs] == pytest.approx(
        holm([pair.difference.p for pair in ranking.pairs])
    )
    assert len(ranking.pairs) == 6
    groups = {one.row.label: set(one.letters) for one in ranking.variants}
    for one, other in combinations(groups, 2):
        assert bool(groups[one] & groups[other]) != found[one, other].different


def test_smaller_is_better_where_the_study_says_so(four):
    plan = four.plan(CELLS)
    plan["directions"] = {"val/accuracy": "max", "test/accuracy": "min"}
    assert [one.row.label for one in ranked(four, plan).variants] == [
        "last",
        "bridge",
        "adaptive",
        "static",
    ]


def test_what_cannot_be_compared_has_no_place(four):
    four.finish("once", 0, 0.9)
    four.finish("eyeless", 0, 0.4, floor=0.4)
    four.finish("eyeless", 1, 0.4, floor=0.4)
    plan = four.plan([*CELLS, "once", "new", "eyeless"])
    for row in plan["rows"]:
        if row["cell"] == "eyeless":
            row["blind"] = True
    ranking = ranked(four, plan)
    few = "too few seeds (1 of at least 2)"
    assert ranking.left_out == {"once": few, "new": "no results yet", "eyeless": "blind"}
    assert [one.row.label for one in ranking.variants] == ["static", "adaptive", "bridge", "last"]


def test_uneven_seeds_are_ranked_on_those_that_all_have(fabric):
    """One variant failed on the three easy seeds: its mean is lower, though it is better on all that both have."""
    hard, easy = (0.70, 0.71, 0.70, 0.70), (0.93, 0.94, 0.95)
    for seed, accuracy in enumerate((*hard, *easy)):
        fabric.finish("bridge", seed, accuracy, outcomes=False)
    for seed, accuracy in enumerate(hard):
        fabric.finish("static", seed, accuracy + 0.05 + 0.01 * (seed % 2), outcomes=False)
    for seed in (4, 5, 6):
        fabric.fail("static", seed)
    plan = fabric.plan(["bridge", "static"], 7)
    ranking = ranked(fabric, plan)
    assert [(one.row.label, one.row.n, one.letters) for one in ranking.variants] == [
        ("static", 4, "a"),
        ("bridge", 4, "b"),
    ]
    (pair,) = ranking.pairs
    assert (pair.better, pair.worse, pair.different) == ("static", "bridge", True)
    reported = build_report(fabric.store, plan).rows[1]
    assert pair.difference.difference == pytest.approx(reported.difference.difference)
    assert "n = 4 seeds that all have (0, 1, 2, 3)" in caption(ranking)
    assert ranking.notes[:2] == (
        "provisional: 11 of 14 runs are finished",
        "failed: static (seeds 4, 5, 6); what is left may flatter these variants",
    )
    for text in ("## Notes", "- provisional: 11 of 14"):
        assert text in render_text(ranking, "md")
    assert list(ranking.notes) == to_dict(ranking)["notes"]


def test_no_letters_without_a_test(fabric):
    for cell in ("bridge", "static"):
        for seed in range(3):
            fabric.finish(cell, seed, 0.7 + 0.01 * seed)
    few = ranked(fabric, fabric.plan(["bridge", "static"], 3, test="bootstrap"))
    assert few.left_out == dict.fromkeys(("bridge", "static"), "too few seeds (3 of at least 10)")
    assert (few.variants, few.pairs) == ((), ())
    assert caption(few).startswith("No variant can be ranked yet. Without a place: bridge (too few")
    for seed in range(3, 6):
        fabric.finish("late", seed, 0.7)
    apart = ranked(fabric, fabric.plan(["bridge", "late"], 6))
    assert apart.left_out["late"] == "0 of its seeds are shared by all, 2 are needed"


def test_the_figure_has_a_bar_for_each_group(four):
    ranking = ranked(four, four.plan(CELLS))
    bars = [trace for trace in plot_ranking(ranking).data if trace.xaxis == "x2"]
    assert [tuple(bar.y) for bar in bars] == list(ranking.groups) == [(0,), (1, 2), (3,)]


def test_a_figure_of_many_variants_has_low_lines(four):
    ranking = ranked(four, four.plan(CELLS))
    lines = [replace(one, row=replace(one.row, label=f"v{at}")) for at, one in enumerate(ranking.variants * 7)]
    heights = [plot_ranking(replace(ranking, variants=lines[:n])).layout.meta["height"] for n in (4, 10, 11, 28)]
    assert heights == [130 + 4 * 38, 130 + 10 * 38, 130 + 11 * 24, 130 + 28 * 24]


def test_the_command_prints_and_writes_it(four, monkeypatch, capsys, tmp_path):
    four.store.write_plan("trial", four.plan(CELLS))
    root = four.store.root
    assert call(monkeypatch, "report", "trial", "--by", "rank", "--store", root) == 0
    shown = capsys.readouterr().out
    for words in ("trial: ranking", "group", "were not shown to be different", "all 6 pairs"):
        assert words in " ".join(shown.split())
    assert call(monkeypatch, "report", "trial", "--by", "rank", "--store", root, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads(json.dumps(to_dict(ranked(four, four.plan(CELLS)))))
    page = (Path(__file__).parents[2] / "docs/report-json.md").read_text()
    assert not {key for part in (data, data["ranking"][0], data["pairs"][0]) for key in part if f"`{key}`" not in page}
    assert call(monkeypatch, "report", "trial", "--by", "rank", "--store", root, "--out", tmp_path / "rank.csv") == 0
    places = list(csv.DictReader(io.StringIO((tmp_path / "rank.csv").read_text())))
    assert [(place["place"], place["variant"]) for place in places][:2] == [("1", "static"), ("2", "adaptive")]


def test_what_cannot_be_ranked_is_one_line(four, monkeypatch, capsys):
    plan = four.plan(CELLS)
    with pytest.raises(UserError, match=r"seeds were decided by looks .*: rank a study of a fixed number of seeds"):
        rank_variants((), pl.DataFrame(), pl.DataFrame(), plan | {"sequential": {"looks": [3, 5]}})
    for number, row in enumerate(plan["rows"]):
        row["axis_labels"] = row["axis_labels"] | {"train.length": f"{number % 2} steps"}
        row["axes"] = row["axes"] | {"train.length": {"steps": number % 2}}
    with pytest.raises(UserError, match="trained for several lengths: rank a study of one"):
        ranked(four, plan)
    plan = four.plan(CELLS)
    split_questions(plan)
    with pytest.raises(UserError, match="differ in `task` or `data`, and the study compares none of them across that"):
        ranked(four, plan)
    four.store.write_plan("trial", four.plan(CELLS))
    assert call(monkeypatch, "report", "trial", "--by", "rank", "--format", "tex", "--store", four.store.root) == 2
    assert "--by rank has no format 'tex'; it has md, csv, json" in capsys.readouterr().err


def test_a_bar_leaves_out_who_is_told_apart_from_its_group():
    bar = ranking_figure._bar(0, (0, 1, 3), ["a", "b", "d"])
    assert list(bar.y) == [0, 1, None, 3]
