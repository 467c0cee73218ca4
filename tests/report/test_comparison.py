"""What is said of a variant, and on what grounds."""

import re

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mtlab.errors import UserError
from mtlab.report import frame
from mtlab.report.caveats import collect_caveats
from mtlab.report.comparison.compare import compare
from mtlab.report.comparison.families import compare_families
from mtlab.report.study_report import build_report
from mtlab.runs.results import write_result
from mtlab.statistics.correction import holm
from mtlab.statistics.example_variance import example_variance
from mtlab.statistics.paired import paired_t_examples

CELLS = ["last", "bridge", "static", "adaptive"]


def rows_of(fabric, plan):
    rows = compare(frame.run_frame(fabric.store, plan), frame.outcomes_by_cell(fabric.store, plan), plan)
    return {row.label: row for row in rows}


def results(fabric, cell):
    return np.array([fabric.store.result(f"{cell}/s{seed}")["metrics"]["test/accuracy"] for seed in range(5)])


def test_verdicts_against_the_baseline(four):
    rows = rows_of(four, four.plan(CELLS))
    assert {label: row.outcome for label, row in rows.items()} == {
        "last": "worse",
        "bridge": "baseline",
        "static": "better",
        "adaptive": "undecided",
    }
    assert rows["static"].verdict.startswith("better than bridge (p < 0.001")
    assert rows["adaptive"].verdict.startswith("no difference shown (p = ")
    assert [label for label, row in rows.items() if row.best] == ["static"]


def test_p_is_that_of_the_default_test_and_corrected_over_the_table(four):
    rows = rows_of(four, four.plan(CELLS))
    expected = []
    for cell in ("last", "static", "adaptive"):
        scores = {
            other: np.stack([four.outcomes(other, seed).sort("id")["score"].to_numpy() for seed in range(5)])
            for other in (cell, "bridge")
        }
        per_seed, per_example = results(four, cell) - results(four, "bridge"), scores[cell] - scores["bridge"]
        expected.append(paired_t_examples(per_seed, example_variance(per_example, largest=1.0)).p)
        assert rows[cell].difference.p == pytest.approx(expected[-1])
        assert rows[cell].difference.difference == pytest.approx(per_seed.mean())
    assert [rows[cell].p_corrected for cell in ("last", "static", "adaptive")] == pytest.approx(holm(expected))


def test_without_outcomes_the_variance_is_that_over_seeds_alone_and_this_is_said(fabric):
    for seed in range(4):
        fabric.finish("bridge", seed, 0.70 + 0.01 * seed, outcomes=False)
        fabric.finish("static", seed, 0.75 + 0.02 * seed, outcomes=False)
    plan = fabric.plan(["bridge", "static"], seeds=4)
    rows = rows_of(fabric, plan)
    reference = stats.ttest_rel(results_of(fabric, "static", 4), results_of(fabric, "bridge", 4))
    assert rows["static"].difference.p == pytest.approx(reference.pvalue)
    assert "no outcomes of single examples" in rows["static"].notes[0]


def results_of(fabric, cell, seeds):
    return [fabric.store.result(f"{cell}/s{seed}")["metrics"]["test/accuracy"] for seed in range(seeds)]


def test_outcomes_of_accuracy_are_not_used_for_a_loss_and_smaller_is_better(four):
    plan = four.plan(CELLS)
    plan["metrics"] = plan["metrics"] | {"verdict": "test/loss"}
    rows = rows_of(four, plan)
    assert rows["static"].outcome == "better"
    assert rows["static"].difference.difference < 0
    assert rows["last"].outcome == "worse"
    assert rows["static"].best
    assert "test/loss is no mean of recorded outcomes" in rows["static"].notes[0]


def test_examples_of_one_image_are_no_independent_ones(fabric):
    """The same outcomes of 300 questions, once about 300 pictures, once about 50."""

    def difference(per_image):
        fabric.per_image = per_image
        for seed in range(4):
            for cell, accuracy in (("bridge", 0.70 + 0.01 * seed), ("static", 0.75 + 0.01 * seed)):
                folder = fabric.finish(cell, seed, accuracy)
                path = folder / "examples.parquet"
                rows = pl.read_parquet(path)
                gained = pl.Series("score", np.repeat(np.arange(50) % 3 == 0, 6).tolist() * 2).cast(pl.Float64)
                if cell == "static":  # pictures that suit it in every seed
                    rows = rows.with_columns(pl.max_horizontal("score", gained))
                rows.write_parquet(path)
                metrics = {"test/accuracy": float(rows.filter(split="test")["score"].mean()), "test/loss": 1.0}
                write_result(folder, {"format": 1, "metrics": metrics, "cost": {}})
        return rows_of(fabric, fabric.plan(["bridge", "static"], seeds=4))["static"].difference

    alone, clustered = difference(1), difference(6)
    assert clustered.parts.seeds == pytest.approx(alone.parts.seeds)
    assert clustered.parts.examples.clusters == 50
    assert alone.parts.examples.clusters == alone.parts.examples.examples == 300
    assert alone.parts.examples.design_effect == pytest.approx(1, abs=0.01)
    assert clustered.parts.examples.design_effect > 1.3
    assert clustered.p > alone.p


def test_other_examples_than_the_baseline_are_told(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.70 + 0.01 * seed)
        fabric.finish("static", seed, 0.75 + 0.02 * seed, ids="other")
    rows = rows_of(fabric, fabric.plan(["bridge", "static"], seeds=3))
    assert "evaluated on other examples" in rows["static"].notes[0]


def test_seeds_are_paired_by_number(fabric):
    for seed, accuracy in {0: 0.5, 1: 0.6, 2: 0.7}.items():
        fabric.finish("bridge", seed, accuracy)
    for seed, accuracy in {1: 0.62, 2: 0.74, 3: 0.99}.items():
        fabric.finish("static", seed, accuracy)
    row = rows_of(fabric, fabric.plan(["bridge", "static"]))["static"]
    assert (row.n, row.planned, tuple(row.results)) == (3, 5, (1, 2, 3))
    assert row.mean.mean == pytest.approx((0.62 + 0.74 + 0.99) / 3, abs=0.002)
    assert row.difference.n == 2
    assert row.difference.difference == pytest.approx(0.03, abs=0.002)
    assert "comparison with bridge on the seeds that both have (1, 2)" in row.notes


def test_nothing_is_claimed_from_one_seed_or_none(fabric):
    fabric.finish("bridge", 0, 0.7)
    fabric.finish("static", 0, 0.9)
    fabric.finish("last", 1, 0.2)
    rows = rows_of(fabric, fabric.plan(CELLS))
    assert rows["static"].verdict == "too few seeds (1 of at least 2)"
    assert rows["static"].difference.difference == pytest.approx(0.2, abs=0.001)
    assert (rows["static"].difference.p, rows["static"].mean.interval) == (None, None)
    assert rows["last"].verdict == "no shared seed yet"
    assert rows["adaptive"].verdict == "no results yet"


def test_only_the_same_outcomes_are_called_identical(fabric):
    """Two variants may answer as many questions right, and not the same ones."""
    folders = [fabric.finish(cell, seed, 1.0) for seed in range(3) for cell in ("bridge", "brigde")]
    row = rows_of(fabric, fabric.plan(["bridge", "brigde"], seeds=3))["brigde"]
    assert (row.outcome, row.verdict, row.difference.p) == ("identical", "identical to bridge", 1.0)
    for folder in folders:
        (folder / "examples.parquet").unlink()
    row = rows_of(fabric, fabric.plan(["bridge", "brigde"], seeds=3))["brigde"]
    assert (row.outcome, row.verdict) == ("undecided", "no difference shown (p = 1.00)")
    assert (row.difference.interval, row.smallest_detectable) == (None, None)
    assert any("single examples are not known to be the same" in note for note in row.notes)


def test_rows_with_the_same_best_mean_are_both_the_best(fabric):
    for cell, accuracies in {"bridge": (0.1, 0.2, 0.3), "static": (0.3, 0.2, 0.1), "mean": (0.1, 0.1, 0.1)}.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy)
    rows = rows_of(fabric, fabric.plan(["bridge", "static", "mean"], seeds=3))
    assert {label for label, row in rows.items() if row.best} == {"bridge", "static"}


def test_the_best_mean_is_that_of_the_seeds_that_all_rows_have(fabric):
    """A row of which three seeds failed is not the best because the two others are easy ones."""
    for seed, accuracy in enumerate((0.89, 0.88, 0.60, 0.61, 0.62)):
        fabric.finish("bridge", seed, accuracy)
    for seed, accuracy in enumerate((0.88, 0.88)):
        fabric.finish("static", seed, accuracy)
    rows = rows_of(fabric, fabric.plan(["bridge", "static"]))
    assert rows["static"].mean.mean > rows["bridge"].mean.mean
    assert [label for label, row in rows.items() if row.best] == ["bridge"]


def test_a_row_that_is_shown_to_be_worse_is_not_the_best(fabric):
    """On the one seed that all three have it is ahead."""
    for seed in range(12):
        fabric.finish("bridge", seed, 0.70)
        fabric.finish("static", seed, 0.72 if seed == 0 else 0.50 + 0.01 * (seed % 3))
    fabric.finish("mean", 0, 0.60)
    rows = rows_of(fabric, fabric.plan(["bridge", "static", "mean"], seeds=12))
    assert rows["static"].outcome == "worse"
    assert [label for label, row in rows.items() if row.best] == ["bridge"]


def test_seeds_that_all_start_from_one_run_are_told(four):
    """However many they are, another pre-training would give other results."""
    plan = four.plan(CELLS)
    for run in plan["runs"]:
        run["parents"] = [f"before-{run['cell']}/s{0 if run['cell'] in ('bridge', 'static') else run['seed']}"]
    assert "bridge, static: all seeds start from one run" in told(four, plan)
    for run in plan["runs"]:
        run["parents"] = ["before/s0"]
    assert "start from one run" not in told(four, plan)  # variants share it: it is no reason for a difference


def test_the_same_results_on_other_examples_are_told(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.7)
        fabric.finish("static", seed, 0.7)
    row = rows_of(fabric, fabric.plan(["bridge", "static"], seeds=3))["static"]
    assert row.outcome == "undecided"
    assert row.difference.interval[0] == -row.difference.interval[1] != 0
    assert row.notes == ("the same results in every seed, on other examples",)


def test_a_constant_difference_is_no_proof(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.70, outcomes=False)
        fabric.finish("static", seed, 0.75, outcomes=False)
    row = rows_of(fabric, fabric.plan(["bridge", "static"], seeds=3))["static"]
    assert row.outcome == "undecided"
    assert row.difference.p == 0.25
    assert any("same difference in every seed" in note for note in row.notes)


def test_comparisons_that_are_not_there_yet_count_in_the_correction(four):
    few = rows_of(four, four.plan(["bridge", "static"]))
    many = rows_of(four, four.plan(["bridge", "static", "x", "y", "z"]))
    assert many["static"].p_corrected == pytest.approx(4 * few["static"].p_corrected)
    assert many["static"].smallest_detectable > few["static"].smallest_detectable
    raw = rows_of(four, four.plan(["bridge", "static", "x"], correct="none"))
    assert raw["static"].p_corrected == raw["static"].difference.p


def test_each_row_is_compared_with_its_own_baseline(four):
    plan = four.plan(CELLS)
    plan["rows"][3] |= {"compare_to": "static", "note": "has no depth: compared at 2"}
    rows = rows_of(four, plan)
    assert rows["adaptive"].verdict.startswith("worse than static")
    assert "has no depth: compared at 2" in rows["adaptive"].notes


def test_bootstrap_waits_for_ten_seeds(fabric):
    rng = np.random.default_rng(0)
    for seed in range(10):
        fabric.finish("bridge", seed, 0.6 + 0.05 * rng.random())
        fabric.finish("static", seed, 0.8 + 0.05 * rng.random())
    plan = fabric.plan(["bridge", "static"], seeds=10, test="bootstrap")
    assert rows_of(fabric, plan)["static"].outcome == "better"
    (fabric.store.run("static/s4") / "result.json").unlink()
    assert rows_of(fabric, plan)["static"].verdict == "too few seeds (9 of at least 10)"


def test_an_unknown_test_is_refused(four):
    with pytest.raises(UserError, match="unknown test 'wilcoxon'"):
        build_report(four.store, four.plan(CELLS, test="wilcoxon"))


def test_families_break_the_metric_down(four):
    plan = four.plan(CELLS)
    found = compare_families(frame.run_frame(four.store, plan), frame.outcomes_by_cell(four.store, plan), plan)
    assert list(found) == ["colour", "count", "existence"]
    static = next(row for row in found["count"] if row.label == "static")
    measured = [four.store.result(f"static/s{seed}")["metrics"]["test/accuracy/count"] for seed in range(5)]
    assert static.mean.mean == pytest.approx(np.mean(measured))
    assert static.difference.interval is not None
    overall = np.mean([row.mean.mean for rows in found.values() for row in rows if row.label == "static"])
    assert overall == pytest.approx(results(four, "static").mean())  # families are equally large here


def told(fabric, plan):
    outcomes = frame.outcomes_by_cell(fabric.store, plan)
    runs, outcomes = frame.without_parents(frame.run_frame(fabric.store, plan), outcomes, plan)
    return "\n".join(collect_caveats(runs, compare(runs, outcomes, plan), plan))


def test_a_clean_study_needs_no_notes(four):
    assert told(four, four.plan(CELLS)) == ""


def test_mixes_are_told(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.7 + 0.01 * seed)
        fabric.finish("static", seed, 0.7 + 0.02 * seed, device="cuda (H100)", threads=2, code="0ld", torch="2.12.0")
    text = told(fabric, fabric.plan(["bridge", "static"], seeds=3))
    for expected in ("devices: cpu (3), cuda (H100) (3)", "numbers of threads: 1 (3), 2 (3)", "versions of torch"):
        assert expected in text
    assert "versions of the training code" in text
    assert "3 of 6 finished runs were made by other training code than the plan's" in text


def test_a_run_that_changed_its_version_on_the_way_is_told(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.7 + 0.01 * seed)
        fabric.finish("static", seed, 0.7 + 0.02 * seed, mixes={"torch": "2.12.0 then 2.13.0"})
    text = told(fabric, fabric.plan(["bridge", "static"], seeds=3))
    assert "2.12.0 then 2.13.0 (3)" in text


def test_plug_ins_are_told_where_one_of_them_had_several_sources(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.7 + 0.01 * seed, mixes={"plug-in manager:mine": "a1"})
        fabric.finish("static", seed, 0.7 + 0.02 * seed, mixes={"plug-in manager:other": "a1"})
    assert "plug-in" not in told(fabric, fabric.plan(["bridge", "static"], seeds=3))
    fabric.finish("static", 3, 0.7, mixes={"plug-in manager:other": "b2"})
    text = told(fabric, fabric.plan(["bridge", "static"], seeds=4))
    assert "versions of plug-in manager:other: a1 (3), b2 (1); differences may come from the code" in text


def test_missing_runs_are_told_by_what_became_of_them(fabric):
    fabric.finish("bridge", 0, 0.7)
    fabric.finish("static", 0, 0.7)
    fabric.fail("static", 1)
    fabric.start("bridge", 1)
    text = told(fabric, fabric.plan(["bridge", "static"], seeds=3))
    assert "provisional: 2 of 6 runs are finished" in text
    assert "failed: static (seed 1); what is left may flatter" in text
    assert "cut off, to be resumed: bridge (seed 1)" in text
    assert "not started: bridge (seed 2), static (seed 2)" in text


def test_few_seeds_are_told_what_they_can_show(four):
    text = told(four, four.plan(CELLS, seeds=2))
    assert re.search(r"with 2 seeds, (any difference|differences below [\d.]+) tend", text)
    assert re.search(r"; with 5 seeds of the same spread, differences below [\d.]+ tend to go unseen", text)
    assert "1 seed asked for: a test needs at least 2" in told(four, four.plan(CELLS, seeds=1))


def test_parents_of_other_studies_are_no_part_of_the_table(four):
    plan = four.plan(CELLS)
    plan["runs"].insert(0, plan["runs"][0] | {"id": "pre/s0", "cell": "pre", "study": "pretraining"})
    assert set(rows_of(four, plan)) == set(CELLS)
    assert build_report(four.store, plan).runs["asked"] == 20
    assert told(four, plan) == ""
