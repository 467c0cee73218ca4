"""How fast variants learn: numbers worked out by hand, and runs that never get there get none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from fabric import Fabric

from mtlab.report.figures import speed as figures
from mtlab.report.formats import captions, speed_table
from mtlab.report.learning.validation_curve import ValidationCurve, read_curve
from mtlab.report.study_report import StudyReport, build_report

CURVES: Mapping[str, Sequence[Sequence[float]]] = {
    "bridge": ((0.2, 0.3, 0.4, 0.5), (0.2, 0.3, 0.5, 0.6), (0.2, 0.4, 0.4, 0.5)),
    "static": ((0.2, 0.8, 0.9, 0.9), (0.2, 0.7, 0.9, 0.9), (0.2, 0.3, 0.8, 0.9)),
    "adaptive": ((0.2, 0.8, 0.9, 0.9), (0.2, 0.3, 0.4, 0.5), (0.2, 0.2, 0.2, 0.3)),
}


def log(
    fabric: Fabric, cell: str, seed: int, values: Sequence[float], every: int = 200, metric: str = "val/accuracy"
) -> None:
    """Write a finished run with a validation curve."""
    run = fabric.finish(cell, seed, values[-1])
    rows = [{"step": every * n, "seconds": n, metric: value} for n, value in enumerate(values, 1)]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def report(fabric: Fabric, curves: Mapping[str, Sequence[Sequence[float]]] = CURVES, **plan: Any) -> StudyReport:
    metric = plan.get("metrics", {"choose": "val/accuracy"})["choose"]
    for cell, seeds in curves.items():
        for seed, values in enumerate(seeds):
            log(fabric, cell, seed, values, metric=metric)
    return build_report(fabric.store, fabric.plan(list(curves), seeds=3, **plan))


def test_a_curve_is_measured_by_trapezoids_from_its_first_validation_to_the_planned_end() -> None:
    assert ValidationCurve((100, 200, 400), (0.0, 0.6, 1.0), 400).area() == pytest.approx((30 + 160) / 300)
    stopped_early = ValidationCurve((100, 200), (0.0, 0.6), 400)
    assert stopped_early.area() == pytest.approx((30 + 120) / 300)
    assert ValidationCurve((400,), (0.6,), 400).area() is None


def test_a_curve_that_is_first_seen_later_has_no_larger_area(fabric: Fabric) -> None:
    """The same rise as a share of training, validated at every eighth and at every half of it."""
    often = ValidationCurve(tuple(range(100, 900, 100)), tuple(n / 8 for n in range(1, 9)), 800)
    seldom = ValidationCurve((200, 400), (0.5, 1.0), 400)
    assert often.area(seldom.begins) == seldom.area(seldom.begins) == pytest.approx(0.75)
    for seed in range(3):
        log(fabric, "bridge", seed, [(n + seed) / 10 for n in range(1, 9)], every=100)
        log(fabric, "static", seed, [(4 + seed) / 10, (8 + seed) / 10], every=400)
    found = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=3)).speed
    assert found is not None
    assert found.begins == (0.125, 0.5)
    assert found.rows[1].difference is not None
    assert found.rows[1].difference.difference == pytest.approx(0)


def test_the_first_step_is_the_first_validation_at_the_target_or_better() -> None:
    curve = ValidationCurve((1, 2, 3, 4), (0.1, 0.6, 0.4, 0.7), 4)
    assert [curve.first_step(target, "max") for target in (0.6, 0.65, 0.8)] == [2, 4, None]
    assert curve.first_step(0.1, "min") == 1


def test_lines_without_the_metric_or_with_no_number_are_left_out() -> None:
    rows: list[dict[str, Any]] = [{"step": 5, "train/loss": 1.0}, {"step": 10, "m": math.nan}, {"step": 20, "m": 0.5}]
    assert read_curve(rows, "m", 30) == ValidationCurve((20,), (0.5,), 30)
    assert read_curve(rows, "other", 30) is None


def test_areas_and_steps_of_a_study(fabric: Fabric) -> None:
    found = report(fabric).speed
    assert found is not None
    bridge, static, adaptive = found.rows
    assert static.area is not None
    assert static.areas == pytest.approx({0: 2.25 / 3, 1: 2.15 / 3, 2: 1.65 / 3})
    assert static.area.mean == pytest.approx(6.05 / 9)
    assert static.difference is not None
    assert static.difference.difference == pytest.approx(6.05 / 9 - (1.05 + 1.2 + 1.15) / 9)
    assert found.targets
    assert found.targets[0].value == pytest.approx(0.2 + 0.9 * 0.7)  # from the mean at the first validation to 0.9
    assert found.validated_every == (200, 200)
    assert static.reached is not None
    assert static.reached.by_seed == {0: 600, 1: 600, 2: 800}
    assert static.reached.mean is not None
    assert static.reached.mean.mean == pytest.approx((600 * 600 * 800) ** (1 / 3))
    assert adaptive.reached is not None
    assert adaptive.reached.by_seed == {0: 600, 1: None, 2: None}
    assert adaptive.reached.mean is None
    assert bridge.reached is not None
    assert bridge.reached.censored == 3


def test_a_run_that_never_gets_there_is_counted_and_gets_no_number(fabric: Fabric) -> None:
    found = report(fabric)
    assert found.speed is not None
    texts = [speed_table.format_steps(row.reached) for row in found.speed.rows]
    assert texts[0] == "not within 800 (3 of 3 seeds)"
    assert texts[1].startswith("660 (")
    assert texts[2] == "not within 800 (2 of 3 seeds); else 600"
    for shown in (found.to_markdown(), found.to_latex(), found.to_csv()):
        assert "660" in shown
    assert "not within 800 (3 of 3 seeds)" in found.to_markdown()
    rows = found.to_dict()["speed"]["rows"]
    assert [row["not_reached"] for row in rows] == [3, 0, 2]
    assert [row["steps_mean"] is None for row in rows] == [True, False, True]


def test_intervals_of_steps_are_positive_however_wide(fabric: Fabric) -> None:
    curves = {"bridge": ((0.2, 0.9, 0.9, 0.9), (0.2, 0.2, 0.2, 0.9), (0.9, 0.9, 0.9, 0.9))}
    found = report(fabric, curves, baseline=None).speed
    assert found is not None
    assert found.rows[0].reached is not None
    mean = found.rows[0].reached.mean
    assert mean is not None
    assert mean.interval is not None
    assert 0 < mean.interval[0] < mean.mean < mean.interval[1]


def test_a_study_may_name_its_target_in_points(fabric: Fabric) -> None:
    found = report(fabric, reach=50)
    assert found.speed is not None
    assert found.speed.targets
    assert found.speed.targets[0].value == 0.5
    assert [row.reached.by_seed for row in found.speed.rows if row.reached] == [
        {0: 800, 1: 600, 2: 800},
        {0: 400, 1: 400, 2: 600},
        {0: 400, 1: 800, 2: None},
    ]
    assert "set by report.reach" in speed_table.speed_caption(found)


def test_the_target_starts_at_the_best_blind_row(fabric: Fabric) -> None:
    for seed in range(3):
        log(fabric, "bridge", seed, (0.62, 0.8, 0.9))
        log(fabric, "blind", seed, (0.3, 0.5, 0.6))
    plan = fabric.plan(["bridge", "blind"], seeds=3)
    plan["rows"][1] |= {"blind": True, "compare_to": None}
    found = build_report(fabric.store, plan).speed
    assert found is not None
    (target,) = found.targets
    assert (target.start_name, target.start) == ("the blind floor", pytest.approx(0.61))  # val is 1 point above test
    assert target.value == pytest.approx(0.61 + 0.9 * (0.9 - 0.61))


def test_rows_of_other_questions_have_a_target_of_their_own(fabric: Fabric) -> None:
    """On an easy and a hard data set: what is hard ends far below 90 % of what is easy, and is learned all the same."""
    curves = {
        "bridge": ((0.5, 0.7, 0.8, 0.9),),
        "static": ((0.5, 0.9, 0.9, 0.9),),
        "bridge_hard": ((0.2, 0.2, 0.3, 0.3),),
        "static_hard": ((0.2, 0.2, 0.4, 0.4),),
        "bridge_more": ((0.2, 0.2, 0.2, 0.2),),
    }
    for cell, seeds in curves.items():
        log(fabric, cell, 0, seeds[0])
    plan = fabric.plan(list(curves), seeds=1)
    for row in plan["rows"][2:]:
        baseline = row["cell"] != "static_hard"
        row.update(questions="hard", baseline=baseline, compare_to=None if baseline else "bridge_hard")
    plan["rows"][4]["questions"] = "other"
    found = build_report(fabric.store, plan)
    assert found.speed is not None
    targets = [row.target.value if row.target else None for row in found.speed.rows]
    assert targets == pytest.approx([0.86, 0.86, 0.38, 0.38, None])
    assert [row.reached.by_seed[0] if row.reached else None for row in found.speed.rows] == [800, 400, None, 600, None]
    table = speed_table.speed_table(found.speed)
    assert table.header[-1] == "steps to a target"
    assert [line[-1].text for line in table.lines] == [
        "to 86.0: 800",
        "to 86.0: 400",
        "to 38.0: not within 800 (1 of 1 seeds)",
        "to 38.0: 600",
        "—",
    ]
    caption = speed_table.speed_caption(found)
    assert "to the best final mean of the rows on the same questions" in caption
    assert "No steps to a target of bridge_more: no variant ends better" in caption
    data = found.to_dict()["speed"]
    assert (data["target"], data["why_no_target"]) == (None, "rows of other questions have other targets")
    assert [row["target"] for row in data["rows"]] == targets
    assert found.to_csv().splitlines()[0].endswith(",not_reached,target")
    assert figures.plot_speed(found).layout.annotations[1].text == "steps to a target"


def test_variants_that_are_compared_share_a_target_whatever_their_heads(fabric: Fabric) -> None:
    """An option of the task, or of the training data, is part of the questions' digest."""
    for cell in ("bridge", "static"):
        for seed, values in enumerate(CURVES[cell]):
            log(fabric, cell, seed, values)
    plan = fabric.plan(["bridge", "static"], seeds=3)
    plan["rows"][1]["questions"] = "the same, with another dropout of the head"
    found = build_report(fabric.store, plan).speed
    assert found is not None
    assert len(found.targets) == 1
    assert found.rows[0].target == found.rows[1].target


def test_its_caption_explains_no_mark_of_an_equivalence_which_is_of_results_alone(fabric: Fabric) -> None:
    found = report(fabric, test="paired_t", equivalence=0.05)
    assert "† faster, ‡ slower than bridge: " in speed_table.speed_caption(found)
    assert "than bridge, ≈ no difference larger than 5 points: " in captions.paper_caption(found)


def test_areas_of_other_lengths_are_no_evidence_of_speed(fabric: Fabric) -> None:
    """The longer of two trainings that rise alike is higher on average; at equal FLOPs, both had the same to spend."""
    for cell, seeds in CURVES.items():
        for seed, values in enumerate(seeds):
            log(fabric, cell, seed, values)
    plan = fabric.plan(list(CURVES), seeds=3)
    for run in plan["runs"]:
        other = {"static": {"steps": 1600, "flops": 2e12}, "adaptive": {"steps": 400}}.get(run["cell"], {})
        run["cost"] = run["cost"] | other
    found = build_report(fabric.store, plan)
    assert found.speed is not None
    _, static, adaptive = found.speed.rows
    assert static.area is not None
    assert (static.compare_to, static.difference, static.outcome) == (None, None, "not compared")
    assert adaptive.compare_to == "bridge"
    assert "Areas of other lengths than the baseline's are not compared: static." in speed_table.speed_caption(found)
    assert "Holm for 1 comparison;" in speed_table.speed_caption(found)


def test_areas_at_another_learning_rate_are_told_to_be_so(fabric: Fabric) -> None:
    same = report(fabric)
    assert "learning rate" not in speed_table.speed_caption(same)
    plan = fabric.plan(list(CURVES), seeds=3)
    plan["rows"][2]["differences"] |= {"train.lr": 5e-3}
    caption = speed_table.speed_caption(build_report(fabric.store, plan))
    assert "at another learning rate than the baseline, which also changes the area: adaptive." in caption


def test_no_interval_of_a_difference_of_shares_is_beyond_100_points(fabric: Fabric) -> None:
    found = report(fabric, {"bridge": ((0.2, 0.3, 0.9), (0.2, 0.8, 0.9)), "static": ((0.2, 0.9, 0.9), (0.2, 0.3, 0.9))})
    assert found.speed is not None
    difference = found.speed.rows[1].difference
    assert difference is not None
    assert difference.interval == (-1.0, 1.0)
    assert difference.p is not None


def test_a_loss_falls(fabric: Fabric) -> None:
    """It chooses the checkpoints; what is compared is an accuracy, which rises."""
    falling = {"bridge": ((0.9, 0.5, 0.3, 0.2),), "static": ((0.9, 0.2, 0.1, 0.1),)}
    whole = report(fabric, falling, metrics={"choose": "val/loss", "verdict": "test/accuracy", "report": []})
    assert (whole.mode, whole.choose_mode) == ("max", "min")
    found = whole.speed
    assert found is not None
    assert found.mode == "min"
    assert found.targets
    assert found.targets[0].value == pytest.approx(0.9 - 0.9 * 0.8)
    assert [row.reached.by_seed[0] for row in found.rows if row.reached] == [None, 600]
    assert found.rows[1].difference is not None
    assert found.rows[1].difference.difference < 0


def test_nothing_learns(fabric: Fabric) -> None:
    found = report(fabric, {"bridge": ((0.3, 0.3, 0.3, 0.3),), "static": ((0.3, 0.2, 0.3, 0.3),)})
    assert found.speed is not None
    assert not found.speed.targets
    assert "no variant ends better" in speed_table.speed_caption(found)
    assert "| steps to" not in found.to_markdown()
    caption = figures.plot_speed(found).layout.meta["caption"]
    assert "Dotted line" not in caption
    assert "riangle" not in caption


def test_captions_explain_only_what_single_runs_have(fabric: Fabric) -> None:
    found = report(fabric, {"bridge": ((0.2, 0.4, 0.5, 0.6),), "static": ((0.2, 0.7, 0.9, 0.9),)}, reach=50)
    caption = figures.plot_speed(found).layout.meta["caption"]
    assert "Steps to 50.0 (set by report.reach): the first validation that found it; validated every" in caption
    assert caption.endswith("Dotted line: end of training.")
    assert not [
        words for words in ("mean over seeds", "interval", "ot within", "riangle", "Small dots") if words in caption
    ]


def test_runs_without_curves_have_no_speed(four: Fabric) -> None:
    found = build_report(four.store, four.plan(["last", "bridge"]))
    assert found.speed is None
    assert speed_table.TITLE not in found.to_markdown()
    assert not figures.plot_speed(found).data


def test_the_figure_shows_every_seed_and_marks_those_that_never_got_there(fabric: Fabric) -> None:
    figure = figures.plot_speed(report(fabric))
    named = {}
    for trace in figure.data:
        named.setdefault((trace.name, trace.xaxis), []).append(trace)
    assert list(named["static", "x"][0].x) == pytest.approx([75, 100 * 2.15 / 3, 55])
    reached, never = named["adaptive", "x2"][:2]
    assert list(reached.x) == [600]
    assert list(never.x) == [800, 800]
    assert never.text == ("2 of 3",)
    assert figure.layout.meta["caption"].endswith(
        "geometric mean over seeds of the first validation that found it, with its 95% interval; validated every 200 "
        "steps. Not within: runs that never got there. Small dots: single seeds. Dotted line: end of training, where "
        "longer intervals are cut. Open triangles: not within."
    )
    assert [each.marker.symbol for each in named["bridge", "x2"]] == [never.marker.symbol]
