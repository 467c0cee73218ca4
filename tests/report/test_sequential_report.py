"""Seeds until decided and equivalence in the report: verdicts, what was spent, and every format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabric import Fabric
from rich.console import Console

from mtlab.launch.status import study_statuses
from mtlab.report.comparison.compare import OTHER_RESULTS, compare
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.frame import run_frame
from mtlab.report.next_steps import closing_lines
from mtlab.report.sequential.looks import take_look
from mtlab.report.study import StudyResults
from mtlab.report.study_report import StudyReport, build_report
from mtlab.runs.results import write_result
from mtlab.statistics.power import smallest_detectable
from mtlab.statistics.stopping import StoppingRule
from mtlab.studies.looks import Looks, read_looks

MEANS = {"bridge": 0.70, "last": 0.62, "static": 0.702, "adaptive": 0.7117}
MOST = 10


def planned(fabric: Fabric, looks: Looks | None = None, cells: Any = tuple(MEANS), **changes: Any) -> dict[str, Any]:
    """Make a plan with the runs that its looks so far ask for."""
    numbers = list(range(4, MOST + 1, 2))
    rule = StoppingRule(tuple(numbers), 0.03)
    rules = {"looks": numbers, "first": 0, "spending": "obrien_fleming"}
    rules |= {"levels": list(rule.difference.at(0.05)), "spent": [0.001, 0.01, 0.03, 0.05]}
    plan = fabric.plan(list(cells), seeds=MOST, equivalence=0.03, sequential=rules, **changes)
    if looks is None:
        return plan
    seeds_of = looks.seeds_of()
    return plan | {"runs": [run for run in plan["runs"] if run["seed"] < seeds_of[run["cell"]]]}


def decided(fabric: Fabric, **changes: Any) -> tuple[dict[str, Any], Looks]:
    """Run a study to its end, look by look."""
    noise = np.random.default_rng(1).normal(0, 0.015, (MOST, len(MEANS)))
    looks = read_looks(fabric.store, planned(fabric, **changes))
    assert looks is not None
    while looks.open:
        plan = planned(fabric, looks, **changes)
        for run in plan["runs"]:
            at = list(MEANS).index(run["cell"])
            if not (fabric.store.run(run["id"]) / "result.json").exists():
                fabric.finish(run["cell"], run["seed"], MEANS[run["cell"]] + noise[run["seed"], at], outcomes=False)
        looks = take_look(fabric.store, plan, looks, looks.open)
    plan = planned(fabric, looks, **changes)
    fabric.store.write_plan("trial", plan)
    return plan, looks


@pytest.fixture
def study(fabric: Fabric) -> tuple[Fabric, dict[str, Any], Looks]:
    fabric.examples = 1000
    return fabric, *decided(fabric)


@pytest.fixture
def report(study: Any) -> StudyReport:
    fabric, plan, _ = study
    return build_report(fabric.store, plan)


def test_each_comparison_ends_at_a_look_of_its_own(report: StudyReport) -> None:
    outcomes = {row.label: row.outcome for row in report.rows}
    assert outcomes == {"bridge": "baseline", "last": "worse", "static": "equivalent", "adaptive": "undecided"}
    seeds = {row.label: row.n for row in report.rows}
    assert seeds == {"bridge": 10, "last": 6, "static": 10, "adaptive": 10}
    verdicts = {row.label: row.verdict for row in report.rows}
    assert verdicts["last"].startswith("worse than bridge (p ")
    assert verdicts["static"].startswith("no difference larger than 3 points (p = ")
    assert verdicts["adaptive"].startswith("no difference shown (p = ")
    assert verdict_sentence(report).endswith(
        "last is worse than bridge; static differs by no more than 3 points; no difference is shown for adaptive."
    )


def test_p_values_are_those_of_the_record_and_count_the_looks(study: Any, report: StudyReport) -> None:
    fabric, plan, looks = study
    fixed = {row.label: row for row in compare(run_frame(fabric.store, plan), {}, plan)}
    for row in report.rows[1:]:
        test = looks.last[row.cell, "bridge"]
        assert (row.difference.p, row.p_corrected, row.p_equivalence) == (
            test.p, test.p_corrected, test.p_equivalence_corrected
        )  # fmt: skip
        assert row.difference.n == test.n
        assert row.difference.p > fixed[row.label].difference.p  # a single look would have claimed more
    assert {row.label for row in report.rows if row.smallest_detectable is not None} == {"adaptive"}


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_what_can_be_detected_is_asked_at_the_corrected_level_of_the_last_look(study: Any, spending: Any) -> None:
    fabric, plan, looks = study
    plan = plan | {"sequential": plan["sequential"] | {"spending": spending}}
    row = compare(run_frame(fabric.store, plan), {}, plan, looks)[3]
    numbers = tuple(plan["sequential"]["looks"])
    level = StoppingRule(numbers, 0.03, spending=spending).difference.at(0.05 / 3)[-1]
    sd, examples = row.difference.spread
    assert row.smallest_detectable == pytest.approx(smallest_detectable(sd, MOST, level, examples=examples))


def test_runs_of_a_blind_model_that_were_never_asked_for_are_not_saved(fabric: Fabric) -> None:
    plan = planned(fabric)
    plan["rows"][3]["blind"] = True
    for run in plan["runs"]:
        if run["seed"] < 4:
            fabric.finish(run["cell"], run["seed"], MEANS[run["cell"]], outcomes=False)
    summary = build_report(fabric.store, plan).sequential
    assert summary is not None
    assert summary.most_runs == 3 * MOST + 4


def test_what_was_spent_and_saved_is_told(report: StudyReport) -> None:
    summary = report.sequential
    assert summary is not None
    found = {
        each.label: (each.ended, each.looks, each.n, each.alpha_spent, each.seeds_saved) for each in summary.comparisons
    }
    assert found == {
        "last": ("difference", 2, 6, 0.01, 4),
        "static": ("equivalence", 4, 10, 0.05, 0),
        "adaptive": ("max", 4, 10, 0.05, 0),
    }
    assert (summary.runs, summary.most_runs, summary.ended) == (36, 40, 3)
    seconds = {label: sum(40 + seed for seed in range(n)) for label, (_, _, n, _, _) in found.items()}
    assert {each.label: each.seconds for each in summary.comparisons} == seconds
    assert summary.seconds_saved == pytest.approx(4 * (seconds["last"] / 6))


def test_every_format_tells_it(study: Any, report: StudyReport) -> None:
    fabric, plan, _ = study
    data = json.loads(report.to_json())
    assert data["equivalence"] == 0.03
    assert [each["ended"] for each in data["sequential"]["comparisons"]] == ["difference", "equivalence", "max"]
    markdown = report.to_markdown()
    assert "| last | a difference | 6 of 10 | 2 | 0.01 |" in markdown
    assert "36 of at most 40 runs are done" in markdown
    latex = report.to_latex()
    assert r"$\pm$" in latex
    assert r"$\approx$ no difference larger than 3 points" in latex
    lines = report.to_csv().splitlines()
    columns = lines[0].split(",")
    static = dict(zip(columns, next(line for line in lines if ",static," in line).split(","), strict=True))
    assert (static["outcome"], static["looks"], static["ended"]) == ("equivalent", "4", "equivalence")
    assert static["seeds_saved"] == "0"
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.to_table(80))
    text = console.export_text()
    assert "ended by" in text
    assert max(map(len, text.splitlines())) <= 80
    from mtlab.report.page.study_page import study_page

    page = study_page(fabric.store, plan)
    assert "Seeds until decided" in page
    assert "the last look, undecided" in page


def test_status_and_the_python_table_of_looks(study: Any) -> None:
    fabric, plan, _ = study
    (status,) = study_statuses(fabric.store, ["trial"])
    assert "3 of 3 comparisons ended, at 10 of at most 10 seeds" in status.summary()
    assert [str(each) for each in status.looks.comparisons][1] == (
        "static against bridge: ended by an equivalence (look 4, at 10 seeds)"
    )
    assert status.to_json()["looks"]["comparisons"][0]["ended"] == "difference"
    table = StudyResults(fabric.store, plan).looks
    assert table.filter(label="last")["n"].to_list() == [4, 6]
    assert table["look"].max() == 4


def test_a_report_says_if_results_are_not_those_of_the_last_look(study: Any) -> None:
    fabric, plan, _ = study
    said = [OTHER_RESULTS in row.notes for row in build_report(fabric.store, plan).rows]
    assert not any(said)
    fabric.finish("static", 2, 0.5, outcomes=False)  # trained again, with other code
    said = [OTHER_RESULTS in row.notes for row in build_report(fabric.store, plan).rows]
    assert said == [name == "static" for name in MEANS]


def test_runs_of_the_next_look_do_not_change_what_the_last_one_said(fabric: Fabric) -> None:
    """A report amid a look: its difference is that of the last look, not of the seeds that happen to be done."""
    fabric.examples = 1000
    cells = ("bridge", "adaptive")
    looks = read_looks(fabric.store, planned(fabric, cells=cells))
    for seed in range(4):
        fabric.finish("bridge", seed, 0.7 + 0.01 * seed, outcomes=False)
        fabric.finish("adaptive", seed, 0.71 + 0.01 * (seed % 2), outcomes=False)
    assert looks is not None
    looks = take_look(fabric.store, planned(fabric, looks, cells), looks, looks.open)
    before = build_report(fabric.store, planned(fabric, looks, cells)).rows[1]
    for cell in cells:
        fabric.finish(cell, 4, 0.9, outcomes=False)
    after = build_report(fabric.store, planned(fabric, looks, cells)).rows[1]
    assert after.n == 5
    assert (after.difference, after.p_corrected) == (before.difference, before.p_corrected)
    assert after.verdict.startswith("no difference shown yet (p = ")


def test_the_advised_seeds_show_the_difference_at_the_level_of_their_last_look(report: StudyReport) -> None:
    (step,) = [line for line in closing_lines(report, "trial.yaml") if line.startswith("next: ")]
    advised = int(step.removeprefix("next: ").partition(" ")[0])
    assert step.endswith(f"study.seeds.max={advised}")
    row = report.rows[3]
    sd, examples = row.difference.spread

    def detected(most: int) -> float:
        level = StoppingRule((*range(4, most, 2), most), 0.03).difference.at(0.05 / report.comparisons)[-1]
        return smallest_detectable(sd, most, level, examples=examples)

    assert detected(advised) <= row.difference.difference < detected(advised - 2)  # 2: from look to look


def test_before_the_first_look_nothing_is_claimed(fabric: Fabric) -> None:
    for seed in range(2):
        fabric.finish("bridge", seed, 0.7 + 0.01 * seed)
        fabric.finish("last", seed, 0.3)
    cells = ("bridge", "last")
    looks = read_looks(fabric.store, planned(fabric, cells=cells))
    report = build_report(fabric.store, planned(fabric, looks, cells))
    assert (report.rows[1].outcome, report.rows[1].verdict) == ("too few", "no look yet")
    assert report.sequential is not None
    assert report.sequential.comparisons[0].ended is None
    assert "no look yet" in report.to_markdown()
    assert not any(row.p_corrected for rows in report.families.values() for row in rows)


def test_families_count_the_looks_too(fabric: Fabric) -> None:
    fabric.examples = 1000
    plan, looks = decided(fabric)
    adaptive = [row for rows in build_report(fabric.store, plan).families.values() for row in rows]
    fixed = plan | {"sequential": None}
    single = [row for rows in build_report(fabric.store, fixed).families.values() for row in rows]
    pairs = [(a.difference.p, b.difference.p) for a, b in zip(adaptive, single, strict=True) if a.label == "adaptive"]
    assert pairs
    assert all(counted > once for counted, once in pairs)
    assert len(looks.taken) == 4


@pytest.mark.parametrize(("margin", "outcome"), [(0.05, "equivalent"), (0.01, "undecided")])
def test_equivalence_of_a_fixed_number_of_seeds(four: Fabric, margin: float, outcome: str) -> None:
    plan = four.plan(["last", "bridge", "static", "adaptive"], test="paired_t", equivalence=margin)
    report = build_report(four.store, plan)
    adaptive = report.rows[3]
    assert adaptive.outcome == outcome
    assert adaptive.p_equivalence is not None
    assert (adaptive.p_equivalence <= 0.05) == (outcome == "equivalent")
    assert report.rows[0].outcome == "worse"  # a difference that is shown stays one, whatever its size
    if outcome == "equivalent":
        assert adaptive.verdict.startswith("no difference larger than 5 points (p = ")
        assert r"$\approx$ no difference larger than 5 points" in report.to_latex()


def test_no_equivalence_is_said_where_nobody_asks(four: Fabric) -> None:
    report = build_report(four.store, four.plan(["last", "bridge", "static", "adaptive"]))
    assert report.equivalence is None
    assert all(row.p_equivalence is None for row in report.rows)
    assert "≈" not in report.to_markdown()


def test_what_has_not_learned_ends_at_the_first_look_and_uses_up_no_seeds(fabric: Fabric) -> None:
    fabric.examples = 1000
    cells = ("bridge", "static", "last")
    looks = read_looks(fabric.store, planned(fabric, cells=cells, floor=55))
    assert looks is not None
    accuracies = {
        "bridge": (0.70, 0.71, 0.69, 0.70),
        "static": (0.70, 0.69, 0.71, 0.73),
        "last": (0.55, 0.56, 0.7, 0.54),
    }
    for cell, values in accuracies.items():
        for seed, accuracy in enumerate(values):
            fabric.finish(cell, seed, accuracy, floor=0.5)
    plan = planned(fabric, looks, cells, floor=55)
    looks = take_look(fabric.store, plan, looks, looks.open)
    assert looks.last["last", "bridge"].ended == "not learned"
    assert looks.last["last", "bridge"].p == 1.0  # what has not been trained is no evidence
    assert looks.seeds_of() == {"bridge": 6, "static": 6, "last": 4}
    report = build_report(fabric.store, planned(fabric, looks, cells, floor=55))
    assert report.rows[2].outcome == "not learned"
    assert report.rows[2].p_corrected is None
    assert report.comparisons == 2  # corrected for both: which of them learn is known only afterwards
    assert "| last | not having learned | 4 of 10 |" in report.to_markdown()


def test_families_judge_a_baseline_on_the_seeds_that_the_last_look_has_seen(fabric: Fabric) -> None:
    """A later seed, for which another comparison asked, does not take back what was decided before."""
    fabric.examples = 600
    cells, noise = ("bridge", "last", "static"), np.random.default_rng(3).normal(0, 0.01, (MOST, 3))
    means = {"bridge": 0.8, "last": 0.55, "static": 0.8}
    looks = read_looks(fabric.store, planned(fabric, cells=cells))
    assert looks is not None
    while looks.open:
        plan = planned(fabric, looks, cells)
        for run in plan["runs"]:
            if not (fabric.store.run(run["id"]) / "result.json").exists():
                accuracy = means[run["cell"]] + noise[run["seed"], cells.index(run["cell"])]
                folder = fabric.finish(run["cell"], run["seed"], accuracy, floor=0.4)
                if run["id"] == "bridge/s7":
                    unlearned(folder, "colour")
        looks = take_look(fabric.store, plan, looks, looks.open)
    report = build_report(fabric.store, planned(fabric, looks, cells))
    tested = {row.label: row.look.n for row in report.rows if row.look is not None}
    assert tested["last"] < tested["static"]
    outcomes = {row.label: row.outcome for row in report.families["colour"]}
    assert (outcomes["last"], outcomes["static"]) == ("worse", "baseline not learned")


def unlearned(folder: Path, family: str) -> None:
    """Say that a blind model has as much as this run on a family."""
    result = json.loads((folder / "result.json").read_text())
    result["metrics"][f"test/accuracy_floor/{family}"] = result["metrics"][f"test/accuracy/{family}"]
    write_result(folder, {key: value for key, value in result.items() if key != "sha256"})
