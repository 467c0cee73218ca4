"""Figures of results: estimates, costs, curves and the examples on which variants disagree."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
import pytest
from recorded_study import Study, lines, words

from mtlab import files
from mtlab.report import frame
from mtlab.report.figures import cost, curves, disagreements, estimates
from mtlab.report.recordings import StudyRun
from mtlab.report.study_report import build_report
from mtlab.resolution.resolve import resolve_cell


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("made", [estimates.plot_estimates, estimates.plot_families, cost.plot_cost])
def test_reports_become_figures_with_as_many_seeds_as_there_are(four, made: Any) -> None:  # type: ignore[no-untyped-def]
    plan = four.plan(["last", "bridge", "static", "adaptive"])
    plan["rows"][3]["label"] = "<b>none</b>"
    figure = made(build_report(four.store, plan))
    assert "n = " in figure.layout.meta["caption"]
    assert "&lt;b&gt;none" in words(figure)
    assert "<b>none" not in words(figure)
    assert "bridge" in words(figure)


def test_comparison_shows_estimates_intervals_and_what_was_shown(four) -> None:  # type: ignore[no-untyped-def]
    report = build_report(four.store, four.plan(["last", "bridge", "static", "adaptive"]))
    figure = estimates.plot_estimates(report)
    row = next(row for row in report.rows if row.label == "static")
    left, right = lines(figure, "static", 1, 1)[-1], lines(figure, "static", 1, 2)[-1]  # behind its seeds
    assert left.x[0] == pytest.approx(100 * row.mean.mean)
    assert left.error_x.array[0] == pytest.approx(100 * (row.mean.interval[1] - row.mean.mean))
    assert right.x[0] == pytest.approx(100 * row.difference.difference)
    assert right.marker.symbol == "circle"
    assert lines(figure, "adaptive", 1, 2)[-1].marker.symbol == "circle-open"
    assert "Holm for 3 comparisons" in figure.layout.meta["caption"]


@pytest.mark.parametrize("made", [estimates.plot_estimates, estimates.plot_families, cost.plot_cost])
def test_reports_of_nothing_say_so(fabric, made: Any) -> None:  # type: ignore[no-untyped-def]
    figure = made(build_report(fabric.store, fabric.plan(["last", "bridge"])))
    assert not figure.data
    assert len(figure.layout.annotations[0].text) > 20


def test_both_directions_of_retrieval_are_examples_of_their_own() -> None:
    rows = [("a", "image", 1.0), ("a", "text", 0.0), ("b", "image", 0.0), ("b", "text", 1.0)]
    same = {"seed": 0, "split": "test", "id": "q", "target": 0, "prediction": 0}
    outcomes = pl.DataFrame(
        {**same, "cell": cell, "family": f"{family} retrieval", "score": score} for cell, family, score in rows
    )
    table = disagreements.find_disagreements(outcomes, ("a", "b"), ("A", "B"))
    assert [(row.family, row.first, row.second) for row in table.rows] == [
        ("image retrieval", 1.0, 0.0),
        ("text retrieval", 0.0, 1.0),
    ]
    assert disagreements.find_disagreements(outcomes, ("a", "b"), ("A", "B"), family="text retrieval").differing == 1


def test_texts_are_those_of_the_data_that_two_variants_share(fabric) -> None:  # type: ignore[no-untyped-def]
    plan = fabric.plan(["one", "two", "other"])
    answering, entailment = ("shapes", "question_answering"), ("shapes_entailment", "entailment")
    for cell, (world, task) in {"one": answering, "two": answering, "other": entailment}.items():
        data = resolve_cell({"data": {"name": world}, "task": {"name": task}}).config["data"]
        fabric.finish(cell, 0, 0.5)
        path = fabric.store.run(f"{cell}/s0") / "config.json"
        content = json.loads(path.read_text())
        files.write_json(path, {**content, "config": {**content["config"], "data": data}})
    answers, texts = disagreements.shared_examples(fabric.store, plan, ("one", "two"), "test")
    assert "yes" in answers
    assert texts
    assert disagreements.shared_examples(fabric.store, plan, ("one", "other"), "test") == ((), {})
    smaller = {**content["config"], "data": {**data, "train": 200}}  # content, data: of `other`
    files.write_json(fabric.store.run("two/s0") / "config.json", {**content, "config": smaller})
    assert disagreements.shared_examples(fabric.store, plan, ("two", "other"), "test")[1]
    assert not disagreements.shared_examples(fabric.store, plan, ("two", "other"), "train")[1]


def test_disagreements_are_sorted_counted_and_named(four) -> None:  # type: ignore[no-untyped-def]
    outcomes = frame.outcome_frame(four.store, four.plan(["static", "bridge"]), split="test")
    texts = {f"q{number}": (f"question {number}?", f"picture {number}") for number in range(300)}
    table = disagreements.find_disagreements(outcomes, ("static", "bridge"), ("S", "B"), ("yes", "no"), texts, limit=7)
    gaps = [abs(row.first - row.second) for row in table.rows]
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == 7
    assert (table.examples, table.seeds, table.split) == (300, (5, 5), "test")
    first_better, second_better = map(int, re.search(r"on (\d+), B on (\d+):?", table.caption).groups())
    assert first_better > second_better > 0
    row = table.rows[0]
    own = outcomes.filter(id=row.id)
    assert row.first == pytest.approx(own.filter(cell="static")["score"].mean())
    assert (row.truth, row.text) == ("yes", f"question {row.id[1:]}?")
    assert {row.first_says, row.second_says} == {"yes", "no"}
    assert "S is right more often on" in table.caption
    assert disagreements.find_disagreements(outcomes, ("static", "none"), ("S", "N")).rows == ()
    assert disagreements.find_disagreements(outcomes.clear(), ("static", "none"), ("S", "N")).rows == ()


def test_every_seed_is_a_dot_beside_its_mean(four) -> None:  # type: ignore[no-untyped-def]
    report = build_report(four.store, four.plan(["last", "bridge", "static", "adaptive"]))
    rows = {row.label: row for row in report.rows}
    static, bridge = (list(rows[name].results.values()) for name in ("static", "bridge"))
    figure = estimates.plot_estimates(report)
    left, right = (lines(figure, "static", 1, column)[0] for column in (1, 2))
    assert list(left.x) == pytest.approx([100 * value for value in static])
    assert list(right.x) == pytest.approx([100 * (a - b) for a, b in zip(static, bridge, strict=True)])
    assert list(left.ids) == [f"seed {seed}" for seed in range(5)]
    drawn = lines(cost.plot_cost(report), "static")[0]
    assert drawn.meta["x"] == rows["static"].cost.trained_params  # the dots lie beside it
    assert list(drawn.y) == pytest.approx([100 * value for value in static])


def test_axes_of_an_accuracy_stay_within_its_bounds_however_wide_its_intervals(fabric) -> None:  # type: ignore[no-untyped-def]
    for cell, accuracies in {"bridge": (0.30, 0.99), "static": (0.98, 0.40)}.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy)
    report = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=2))
    figure = estimates.plot_estimates(report)
    assert figure.layout.xaxis.range == (0, 100)
    assert figure.layout.xaxis2.range == (-100, 100)
    assert cost.plot_cost(report).layout.yaxis.range == (0, 100)
    ends = [each.x[0] + each.error_x.array[0] for each in figure.data if each.error_x.array]
    assert max(ends) <= 100


def test_the_caption_of_single_runs_does_not_speak_of_a_mean(fabric) -> None:  # type: ignore[no-untyped-def]
    for cell in ("bridge", "static"):
        fabric.finish(cell, 0, 0.7)
    report = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=1))
    for figure in (estimates.plot_estimates(report), cost.plot_cost(report)):
        assert "Each dot is one run" in figure.layout.meta["caption"]
        assert "ean over seeds" not in figure.layout.meta["caption"]


def test_disagreements_are_filtered_and_paged(four) -> None:  # type: ignore[no-untyped-def]
    outcomes = frame.outcome_frame(four.store, four.plan(["static", "bridge"]), split="test")

    def find(**chosen: Any) -> disagreements.DisagreementTable:
        return disagreements.find_disagreements(outcomes, ("static", "bridge"), ("S", "B"), **chosen)

    everything = find(limit=1000)
    assert everything.families == ("colour", "count", "existence")
    assert everything.differing == len(everything.rows)
    second = find(better=1, limit=1000)
    assert all(row.second > row.first for row in second.rows)
    assert second.differing + find(better=0).differing == everything.differing
    count = find(family="count", better=0, limit=1000)
    assert [row.id for row in count.rows] == [
        row.id for row in everything.rows if row.family == "count" and row.first > row.second
    ]
    pages = [find(start=start, limit=40).rows for start in range(0, everything.differing, 40)]
    assert [row for page in pages for row in page] == list(everything.rows)
    assert find(family="none").rows == ()


def test_curves_go_as_far_as_all_runs_of_a_variant(study: Study) -> None:
    histories = {source: list(rows) for source, rows in study.histories.items()}
    first = next(iter(histories))
    histories[first] = histories[first][:2]  # one is behind
    figure = curves.plot_curves(histories)
    assert list(lines(figure, "last")[0].x) == [10, 20]
    assert list(lines(figure, "bridge")[0].x) == [10, 20, 30, 40, 50]
    assert lines(figure, "bridge")[0].y[0] == pytest.approx(11)  # points
    assert "logged: val/accuracy" in words(curves.plot_curves(histories, "val/los"))
    caption = figure.layout.meta["caption"]
    assert "Drawn only at steps that all runs of the variant logged: last (to step 20 of 50)." in caption
    assert "steps that all" not in curves.plot_curves(histories, seeds=True).layout.meta["caption"]
    assert "steps that all" not in curves.plot_curves(study.histories).layout.meta["caption"]


def test_a_family_may_have_the_word_that_joins_two_metrics() -> None:
    family = "val/accuracy/cats and dogs"
    rows = [{"step": step, "seconds": 1.0, "val/accuracy": 0.5, family: 0.1 * step} for step in (1, 2, 3)]
    assert "static" in words(curves.plot_curves({StudyRun("static", 0, "static/s0"): rows}, family))


def test_curves_count_the_runs_that_logged_the_metric_and_name_what_is_not_drawn() -> None:
    def history(*steps: int, metric: str = "val/accuracy") -> list[dict[str, float]]:
        return [{"step": step, "seconds": 1.0, metric: 0.5} for step in steps]

    begun = history(20, metric="train/loss")
    found = {
        StudyRun("a", 0, "a/s0"): history(100, 200),
        StudyRun("a", 1, "a/s1"): begun,
        StudyRun("b", 0, "b/s0"): history(100, 200),
        StudyRun("b", 1, "b/s1"): history(160, 320),
        StudyRun("c", 0, "c/s0"): begun,
    }
    caption = curves.plot_curves(found).layout.meta["caption"]
    assert "n = 1 to 2 seeds a variant" in caption
    assert "Without val/accuracy: c. Without a step that all runs of the variant logged: b." in caption
    assert "Drawn only" not in caption
    each = curves.plot_curves(found, seeds=True).layout.meta["caption"]
    assert each.endswith("n = 1 to 2 seeds a variant; on validation data. Without val/accuracy: c.")
    of_a = {run: rows for run, rows in found.items() if run.label == "a"}
    assert curves.plot_curves(of_a).layout.meta["caption"] == "One run; on validation data."
    of_b = {run: rows for run, rows in found.items() if run.label == "b"}
    assert "No variant has a step at which all its runs logged val/accuracy" in words(curves.plot_curves(of_b))


# Tokens


def test_curves_of_each_seed_are_those_that_were_logged(study: Study) -> None:
    figure = curves.plot_curves(study.histories, seeds=True)
    named = {trace.name: trace for trace in figure.data}
    assert list(named["bridge, seed 2"].y) == pytest.approx([100 * 0.01 * (n + 2) for n in range(10, 60, 10)])
    assert named["bridge, seed 2"].line.color == named["bridge, seed 0"].line.color == named["bridge"].line.color
    assert figure.layout.yaxis.range[0] >= 0
    assert "A line for each seed" in figure.layout.meta["caption"]


def test_smoothed_curves_say_so_and_follow_the_raw_ones(study: Study) -> None:
    raw, smooth = (curves.plot_curves(study.histories, seeds=True, smooth=on) for on in (False, True))
    first, last = (smooth.data[0].y[at] - raw.data[0].y[at] for at in (0, -1))
    assert first == 0
    assert last < 0  # an average of a rising curve lies below it
    assert "moving average" in smooth.layout.meta["caption"]


def test_metrics_stand_beside_one_another_with_axes_of_their_own() -> None:
    rows = [{"step": step, "val/accuracy": 0.5, "val/loss": 3.0 / step} for step in (1, 10, 100)]
    found = {StudyRun("a", 4, "a/s4"): rows}
    assert curves.metric_choices(["train/loss", "val/loss", "val/accuracy", "val/x"], "val/accuracy") == [
        "val/accuracy", "val/accuracy and val/loss", "val/loss", "train/loss", "val/x",
    ]  # fmt: skip
    figure = curves.plot_curves(found, "val/accuracy and val/loss", log=True)
    assert [list(trace.y) for trace in figure.data] == [[50, 50, 50], [3.0, 0.3, 0.03]]
    assert figure.layout.xaxis.type == figure.layout.xaxis2.type == "log"
    assert figure.layout.yaxis2.range is None
    assert sum(trace.showlegend for trace in figure.data) == 1
    assert figure.layout.meta["caption"] == "One run; on validation data."


def test_families_tell_differences_where_there_are_some_and_leave_out_what_has_no_result(four) -> None:  # type: ignore[no-untyped-def]
    report = build_report(four.store, four.plan(["last", "bridge", "static", "waiting"]))
    figure = estimates.plot_families(report)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("category", "category")  # of labels such as 16
    (heat,) = figure.data
    assert (list(heat.y), heat.name) == (["last", "bridge", "static"], "mean")
    gap = 100 * report.families["colour"][2].difference.difference
    assert (heat.z[2][0], heat.customdata[2][0]) == (pytest.approx(gap), f" (difference +{gap:.1f})")
    assert [*heat.customdata[1]] == ["", "", ""]
