"""The verdict of a study in a sentence: no more than its table says."""

from collections.abc import Sequence
from typing import Any

from fabric import Fabric

from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.study_report import build_report


def told(fabric: Fabric, cells: Sequence[str], **plan: Any) -> str:
    return verdict_sentence(build_report(fabric.store, fabric.plan(cells, **plan)))


def test_what_was_shown_and_what_was_not(four: Fabric) -> None:
    assert told(four, ["last", "bridge", "static", "adaptive"]) == (
        "On test/accuracy (p ≤ 0.05 after Holm): static is better than bridge; last is worse than bridge; "
        "no difference is shown for adaptive."
    )


def test_a_study_that_goes_on_says_so(four: Fabric) -> None:
    four.fail("static", 5)
    line = told(four, ["bridge", "static"], seeds=6)
    assert line.startswith("So far, with 10 of 12 runs finished. On test/accuracy (p ≤ 0.05): static is better")


def test_nothing_shown_is_no_verdict(four: Fabric) -> None:
    assert told(four, ["bridge", "adaptive"]) == (
        "On test/accuracy (p ≤ 0.05): no difference to bridge is shown for adaptive."
    )


def test_identical_variants(fabric: Fabric) -> None:
    for seed in range(3):
        for cell in ("bridge", "static"):
            fabric.finish(cell, seed, 1.0)
    assert "static is identical to bridge" in told(fabric, ["bridge", "static"], seeds=3)


def test_too_few_seeds(fabric: Fabric) -> None:
    for cell in ("bridge", "static"):
        fabric.finish(cell, 0, 0.7)
    assert told(fabric, ["bridge", "static"], seeds=1) == "On test/accuracy: too few seeds to tell of static."


def test_without_results(fabric: Fabric) -> None:
    assert told(fabric, ["bridge", "static"]) == "No result yet: 0 of 10 runs are finished."


def test_without_a_baseline_the_best_mean_is_no_claim(four: Fabric) -> None:
    line = told(four, ["last", "static"], baseline=None)
    assert line.startswith("Best mean test/accuracy: static with 80.4 ± ")
    assert line.endswith("; nothing is compared.")
    assert told(four, ["static"], baseline=None).startswith("test/accuracy: static with 80.4")


def test_without_a_baseline_what_has_not_learned_is_not_the_best(fabric: Fabric) -> None:
    for seed in range(3):
        fabric.finish("last", seed, 0.56 + 0.01 * seed, floor=0.57)
        fabric.finish("static", seed, 0.80 + 0.01 * seed, floor=0.57)
    line = told(fabric, ["last", "static"], seeds=3, baseline=None)
    assert line.startswith("Best mean test/accuracy: static with 81.0 ± ")
    assert line.endswith("; last has not learned; nothing is compared.")
    assert told(fabric, ["last"], seeds=3, baseline=None) == "On test/accuracy: last has not learned."


def test_a_row_alone_on_its_questions_is_told_beside_the_best_of_others(fabric: Fabric) -> None:
    for seed in range(3):
        for cell, score in (("hard_a", 0.6), ("hard_b", 0.5), ("easy_a", 0.97)):
            fabric.finish(cell, seed, score + 0.01 * seed)
    for cells in (["hard_a", "hard_b", "easy_a"], ["hard_a", "easy_a"]):
        plan = fabric.plan(cells, seeds=3, baseline=None)
        for row in plan["rows"]:
            row["questions"] = row["cell"].partition("_")[0]
        line = verdict_sentence(build_report(fabric.store, plan))
        assert "hard_a with 61.0" in line
        assert "easy_a with 98.0" in line
        assert "hard_b with" not in line


def test_a_blind_model_is_not_the_best(fabric: Fabric) -> None:
    for seed in range(3):
        fabric.finish("blind", seed, 0.57 + 0.001 * seed)
        fabric.finish("static", seed, 0.56 + 0.01 * seed, floor=0.57)
    plan = fabric.plan(["blind", "static"], seeds=3, baseline=None)
    for row in plan["rows"]:
        row["blind"] = row["label"] == "blind"
    report = build_report(fabric.store, plan)
    assert verdict_sentence(report) == "On test/accuracy: static has not learned; nothing is compared."
    assert not any(row.best for row in report.rows)


def test_many_variants_are_counted(fabric: Fabric) -> None:
    cells = ["bridge", *(f"v{number}" for number in range(6))]
    for cell in cells:
        for seed in range(3):
            fabric.finish(cell, seed, 0.7 + 0.01 * seed)
    assert "no difference to bridge is shown for 6 variants" in told(fabric, cells, seeds=3)
