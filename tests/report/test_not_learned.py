"""A variant at the level of a blind model has not been trained: it is said in its row, and it has no verdict."""

from functools import partial

import pytest
from rich.console import Console

from mtlab.report import frame
from mtlab.report.comparison.compare import compare
from mtlab.report.comparison.verdict import next_for_not_learned, not_learned, verdict_sentence
from mtlab.report.figures.estimates import plot_estimates
from mtlab.report.formats.run_again import run_again
from mtlab.report.study_report import build_report
from mtlab.report.sync.run_data import run_summary
from mtlab.report.sync.tables import comparison_table
from mtlab.statistics.correction import holm

ACCURACIES = {
    "last": (0.57, 0.58, 0.56, 0.55, 0.57),
    "bridge": (0.90, 0.91, 0.89, 0.90, 0.92),
    "static": (0.99, 0.98, 0.99, 0.98, 0.97),
    "adaptive": (0.96, 0.55, 0.95, 0.56, 0.97),
    "sparse": (0.89, 0.90, 0.90, 0.91, 0.90),
}


@pytest.fixture
def five(fabric):
    """Give a store with five variants of five seeds each; whoever answers blindly is right in 56 %."""
    for cell, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy, floor=0.56)
    return fabric


def rows_of(fabric, plan):
    rows = compare(frame.run_frame(fabric.store, plan), frame.outcomes_by_cell(fabric.store, plan), plan)
    return {row.label: row for row in rows}


def test_it_is_said_in_the_row_with_the_count_of_seeds(five):
    rows = rows_of(five, five.plan(list(ACCURACIES)))
    assert {label: row.outcome for label, row in rows.items()} == {
        "last": "not learned",
        "bridge": "baseline",
        "static": "better",
        "adaptive": "not learned",
        "sparse": "undecided",
    }
    assert rows["last"].verdict == "not learned (5 of 5 seeds)"
    assert rows["adaptive"].verdict == "not learned (2 of 5 seeds)"
    assert rows["adaptive"].learning.not_learned == (1, 3)


def test_a_floor_that_one_run_lacks_hides_no_seed_that_has_not_learned(five):
    five.finish("last", 2, 0.56)
    plan = five.plan(list(ACCURACIES))
    assert rows_of(five, plan)["last"].verdict == "not learned (4 of 4 seeds)"
    assert rows_of(five, plan | {"floor": 57})["last"].verdict == "not learned (5 of 5 seeds)"


def test_it_has_no_p_value_and_is_not_counted_by_the_correction(five):
    plan = five.plan(list(ACCURACIES))
    rows = rows_of(five, plan)
    assert build_report(five.store, plan).comparisons == 2
    for label in ("last", "adaptive"):
        found = rows[label]
        assert (found.difference.p, found.p_corrected, found.difference.interval) == (None, None, None)
        assert found.smallest_detectable is None
        assert found.difference.difference < 0  # which is still shown
    raw = [rows[label].difference.p for label in ("static", "sparse")]
    assert [rows[label].p_corrected for label in ("static", "sparse")] == pytest.approx(holm(raw))


def test_where_not_even_a_perfect_model_could_show_it_nothing_is_claimed(fabric):
    for seed in range(2):
        fabric.finish("bridge", seed, 1.0, floor=0.8, floor_error=None)
        fabric.finish("static", seed, 0.6, floor=0.8)
    rows = rows_of(fabric, fabric.plan(["bridge", "static"], seeds=2))
    assert (rows["bridge"].learning, rows["bridge"].outcome) == (None, "baseline")
    assert (
        "cannot be told (2 of 2 seeds): so few examples or clusters: all right would be no" in rows["bridge"].notes[0]
    )
    assert "best blind answer (80.0)" in rows["bridge"].notes[0]
    assert rows["static"].outcome == "not learned"


def test_a_baseline_that_has_not_learned_decides_nothing(five):
    rows = rows_of(five, five.plan(list(ACCURACIES), baseline="last"))
    assert rows["static"].outcome == "baseline not learned"
    assert rows["static"].verdict == "no verdict: last has not learned"
    assert rows["last"].verdict == "baseline, not learned (5 of 5 seeds)"
    report = build_report(five.store, five.plan(list(ACCURACIES), baseline="last"))
    assert report.comparisons == 0
    assert verdict_sentence(report) == "On test/accuracy: last and adaptive have not learned."


def test_without_any_baseline_it_is_said_too(five):
    report = build_report(five.store, five.plan(["last", "bridge"], baseline=None))
    assert [row.verdict for row in report.rows] == ["not learned (5 of 5 seeds)", "not compared"]
    assert "not learned" in shown(report)


def test_seeds_of_two_kinds_have_no_interval(five):
    rows = rows_of(five, five.plan(list(ACCURACIES)))
    mean = rows["adaptive"].mean
    assert mean.interval is None
    assert [(clump.n, round(clump.mean, 3)) for clump in mean.clumps] == [(2, 0.555), (3, 0.96)]
    assert any("two clumps, 2 around 55.5 and 3 around 96.0" in note for note in rows["adaptive"].notes)


def test_two_seeds_of_which_one_has_learned_are_two_clumps(fabric):
    for cell, accuracies in {"bridge": (0.9, 0.91), "static": (0.44, 0.75)}.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy, floor=0.4)
    row = rows_of(fabric, fabric.plan(["bridge", "static"], seeds=2))["static"]
    assert row.verdict == "not learned (1 of 2 seeds)"
    assert row.mean.clumps[0].mean == pytest.approx(0.44, abs=0.002)


def test_the_best_is_one_that_has_learned(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.59 + 0.01 * seed, floor=0.5)
        fabric.finish("sparse", seed, 0.58 + 0.01 * seed, floor=0.5)
        fabric.finish("static", seed, (0.5, 0.9, 0.9)[seed], floor=0.5)
    rows = rows_of(fabric, fabric.plan(["bridge", "static", "sparse"], seeds=3))
    assert [label for label, row in rows.items() if row.best] == ["bridge"]


def test_blind_variants_of_the_study_raise_the_floor(five):
    plan = five.plan(list(ACCURACIES))
    for row in plan["rows"]:
        row["blind"] = row["cell"] == "sparse"  # whose mean is 90 %
    rows = rows_of(five, plan)
    assert (rows["sparse"].outcome, rows["sparse"].learning) == ("blind", None)
    assert rows["bridge"].learning.floor == pytest.approx(0.9, abs=0.002)
    assert rows["bridge"].outcome == "not learned"
    assert rows["static"].outcome == "baseline not learned"


def test_a_blind_variant_says_nothing_of_other_questions(fabric):
    """On an axis of data each row has a blind one of its own."""
    scores = {"blind_easy": 0.62, "bridge_easy": 0.8, "blind_hard": 0.31, "bridge_hard": 0.55, "static_hard": 0.6}
    for cell, score in scores.items():
        for seed in range(3):
            fabric.finish(cell, seed, score + 0.01 * seed)
    plan = fabric.plan(list(scores), seeds=3, baseline="bridge_hard")
    for row in plan["rows"]:
        row |= {"blind": row["cell"].startswith("blind"), "questions": row["cell"].rpartition("_")[2]}
    rows = rows_of(fabric, plan)
    assert rows["static_hard"].learning.floor == pytest.approx(0.32, abs=0.002)
    assert rows["static_hard"].compared
    assert rows["bridge_easy"].learning.floor == pytest.approx(0.63, abs=0.002)


def test_our_best_beside_a_published_result_has_learned(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.7 + 0.01 * seed, floor=0.5)
        fabric.finish("static", seed, (0.5, 0.95, 0.95)[seed], floor=0.5)
    plan = fabric.plan(["bridge", "static"], seeds=3, published={"test/accuracy": 74.5})
    assert [each.best_label for each in build_report(fabric.store, plan).published] == ["bridge"]


def test_a_floor_may_be_given(five):
    rows = rows_of(five, five.plan(list(ACCURACIES), floor=92))
    assert [label for label, row in rows.items() if row.outcome == "not learned"] == [
        "last",
        "bridge",
        "adaptive",
        "sparse",
    ]
    assert rows_of(five, five.plan(list(ACCURACIES), floor=10))["bridge"].learning.floor == 0.56


def test_a_floor_counts_where_runs_recorded_none(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.70 + 0.01 * seed)
        fabric.finish("static", seed, 0.50 + 0.01 * seed)
    rows = rows_of(fabric, fabric.plan(["bridge", "static"], seeds=3, floor=61))
    assert rows["bridge"].learning.complete
    assert rows["static"].verdict == "not learned (3 of 3 seeds)"


def test_runs_without_a_floor_and_losses_are_not_judged(five):
    for seed in range(5):
        five.finish("static", seed, 0.5)
    plan = five.plan(list(ACCURACIES))
    assert rows_of(five, plan)["static"].learning is None
    plan["metrics"] = plan["metrics"] | {"verdict": "test/loss"}
    assert {row.learning for row in rows_of(five, plan).values()} == {None}


def test_families_are_judged_and_corrected_likewise(five):
    report = build_report(five.store, five.plan(list(ACCURACIES)))
    for rows in report.families.values():
        found = {row.label: row for row in rows}
        assert (found["last"].outcome, found["last"].p_corrected) == ("not learned", None)
        assert found["static"].p_corrected is not None
    assert report.family_comparisons == 6


def test_blind_variants_raise_the_floor_of_each_family(five):
    plan = five.plan(list(ACCURACIES), floor=10)  # which is that of the whole
    for row in plan["rows"]:
        row["blind"] = row["cell"] == "sparse"
    for rows in build_report(five.store, plan).families.values():
        found = {row.label: row for row in rows}
        assert found["bridge"].learning.floor == pytest.approx(found["sparse"].mean.mean)
        assert (found["bridge"].outcome, found["static"].outcome) == ("not learned", "baseline not learned")


def shown(report, width=150):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.to_table(width))
    return console.export_text()


def test_every_format_says_it(five):
    report = build_report(five.store, five.plan(list(ACCURACIES)))
    data = report.to_dict()["rows"]
    assert data[0]["learning"] == {"floor": 0.56, "learned": (), "not_learned": (0, 1, 2, 3, 4), "complete": False}
    assert data[3]["clumps"][0]["n"] == 2
    assert data[2]["test_examples"]["clusters"] == 300
    csv = report.to_csv().splitlines()
    at = csv[0].split(",").index("not_learned")
    assert [line.split(",")[at] for line in csv[1:]] == ["5", "0", "0", "2", "0"]
    for text in (shown(report), shown(report, 80), report.to_markdown()):
        assert "not learned" in text
        assert "55.5 (2 seeds), 96.0 (3)" in text
    latex = report.to_latex()
    assert r"last & 56.6 \pm 1.4 $^{\circ}$ &" in latex
    assert "last: not learned (5 of 5 seeds), adaptive: not learned (2 of 5 seeds)" in latex
    table = comparison_table(report)
    row = dict(zip(table.columns, table.rows[3], strict=True))
    assert (row["not learned"], row["floor"], row["p"]) == (2, 0.56, None)


def test_a_figure_marks_it_and_draws_the_floor(five):
    figure = plot_estimates(build_report(five.store, five.plan(list(ACCURACIES))))
    assert [label[-1] == "○" for label in figure.layout.yaxis.ticktext] == [True, False, False, True, False]
    assert any(shape.x0 == shape.x1 == pytest.approx(56.0) for shape in figure.layout.shapes)
    means = {trace.name: trace for trace in figure.data if trace.marker.size == 10 and (trace.xaxis or "x") == "x"}
    assert means["last"].marker.symbol.endswith("-open")
    assert not means["bridge"].marker.symbol.endswith("-open")
    assert means["adaptive"].error_x.array is None


@pytest.mark.parametrize(("cells", "floors"), [(list(ACCURACIES), [56.0]), (["bridge", "static", "sparse"], [])])
def test_the_caption_tells_of_the_lines_that_are_within_the_axis(five, cells, floors):
    figure = plot_estimates(build_report(five.store, five.plan(cells)))
    low, high = figure.layout.xaxis.range
    dashed = [shape.x0 for shape in figure.layout.shapes if shape.line.dash == "dash"]
    dotted = [shape.x0 for shape in figure.layout.shapes if shape.line.dash == "1px,3px" and shape.xref == "x"]
    assert dashed == pytest.approx(floors)
    assert dotted == pytest.approx([90.4])  # the mean of bridge, of 300 examples each
    assert all(low <= place <= high for place in dashed + dotted)
    caption = figure.layout.meta["caption"]
    assert ("dashed: the best blind answer" in caption) == bool(floors)
    assert "dotted: the baseline" in caption
    assert "dotted: no difference" in caption


def test_a_figure_without_comparisons_speaks_of_no_test(five):
    figure = plot_estimates(build_report(five.store, five.plan(list(ACCURACIES), baseline="last")))
    assert figure.layout.meta["caption"].endswith("Right: difference to last on shared seeds; no row is compared.")


def test_the_next_step_is_a_command(five):
    report = build_report(five.store, five.plan(list(ACCURACIES)))
    told = not_learned(report.rows, report.metric)
    assert told.startswith("not learned: last (5 of 5 seeds), adaptive (2 of 5 seeds); ")
    assert "(56.0)" in told
    again = partial(run_again, "trial.yaml")
    assert "mtlab run trial.yaml train.length.steps=1600" in next_for_not_learned(report.rows, "trial", again)
    assert report.notes[0].startswith(told)
    assert "mtlab run" not in report.notes[0]  # which does not know the store; the closing lines do
    in_python = next_for_not_learned(report.rows, "trial", partial(run_again, "/runs/studies/trial/declared.yaml"))
    assert '(mtlab.Study.load(…, ["train.length.steps=1600"]).run())' in in_python
    assert next_for_not_learned(report.rows[1:2], "trial", again) is None


@pytest.mark.parametrize(
    "axes",
    [{"manager": "last", "train.length": {"steps": 5}}, {"size": {"model.width": 32, "train.length.steps": 5}}],
)
def test_a_study_whose_axis_sets_the_length_gets_a_longer_one_there(five, axes):
    plan = five.plan(list(ACCURACIES))
    plan["rows"] = [{**row, "axes": axes, "axis_labels": {}} for row in plan["rows"]]
    told = next_for_not_learned(build_report(five.store, plan).rows, "trial", partial(run_again, "trial.yaml"))
    assert f"(add a longer length to the axis `{list(axes)[-1]}`)" in told


def test_a_tracker_learns_it_of_each_run(five):
    assert run_summary(five.store, "last/s0")["test/accuracy_learned"] is False
    assert run_summary(five.store, "bridge/s0")["test/accuracy_learned"] is True
    assert "test/accuracy_floor_learned" not in run_summary(five.store, "bridge/s0")
