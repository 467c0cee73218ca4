"""The last lines of a report, in every state that a study may be in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fabric import Fabric

from mtlab.report.next_steps import closing_lines
from mtlab.report.study_report import build_report
from mtlab.runs.store import Store
from mtlab.statistics.power import seeds_to_detect, smallest_detectable

BRIDGE = (0.70, 0.72, 0.69, 0.71, 0.68)
LAST = "all figures on one page: mtlab report trial.yaml --format html"


def told(fabric: Fabric, accuracies: Mapping[str, Sequence[float]], seeds: int, **changes: Any) -> list[str]:
    floor = changes.pop("floor", None)
    for cell, values in accuracies.items():
        for seed, accuracy in enumerate(values):
            fabric.finish(cell, seed, accuracy, floor=floor)
    lines = closing_lines(
        build_report(fabric.store, fabric.plan(list(accuracies), seeds=seeds, **changes)), "trial.yaml"
    )
    assert lines[-1] == LAST
    assert len(lines) <= 5
    return lines[:-1]


def test_nothing_has_run(fabric: Fabric) -> None:
    assert told(fabric, {"bridge": (), "static": ()}, 2) == [
        "found: No result yet: 0 of 4 runs are finished.",
        "next: mtlab run trial.yaml (does the rest)",
    ]


def test_a_study_that_is_not_finished_is_finished_first(fabric: Fabric) -> None:
    fabric.fail("static", 4)
    found, *steps = told(fabric, {"bridge": BRIDGE, "static": (0.8, 0.83, 0.79, 0.82)}, 5)
    assert found.startswith("found: So far, with 9 of 10 runs finished.")
    assert steps == ["next: mtlab status trial (why 1 run failed)", "next: mtlab run trial.yaml (does the rest)"]


def test_one_seed_asks_for_more(fabric: Fabric) -> None:
    found, step = told(fabric, {"bridge": (0.7,), "static": (0.8,)}, 1)
    assert found == "found: On test/accuracy: too few seeds to tell of static."
    assert step == "next: mtlab run trial.yaml study.seeds=5 (finished runs are kept)"


def test_seeds_of_a_list_are_kept_and_more_are_added(fabric: Fabric) -> None:
    fabric.finish("bridge", 7, 0.7)
    fabric.finish("static", 7, 0.8)
    listed = fabric.plan(["bridge", "static"], seeds=8)
    listed["seeds"], listed["runs"] = [7], [run for run in listed["runs"] if run["seed"] == 7]
    lines = closing_lines(build_report(fabric.store, listed), "trial.yaml")
    assert lines[1] == "next: mtlab run trial.yaml 'study.seeds=[7,8,9,10,11]' (finished runs are kept)"
    winners = closing_lines(build_report(fabric.store, listed | {"study": "hunt-final"}), "final.yaml")
    assert winners[1] == (
        "next: set `finally.seeds` to 5 in the file of the sweep hunt, and run it again (finished runs are kept)"
    )


def test_fresh_seeds_of_a_sweeps_winners_are_those_of_a_copy(
    fabric: Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        fabric.finish("bridge", 1000 + seed, 0.60 + 0.01 * seed, outcomes=False)
        fabric.finish("static", 1000 + seed, 0.70 + 0.01 * seed, outcomes=False)
    plan = fabric.plan(["bridge", "static"], seeds=1004)
    plan |= {"study": "hunt-final", "seeds": list(range(1000, 1004))}
    plan["runs"] = [run for run in plan["runs"] if run["seed"] >= 1000]
    line = closing_lines(build_report(fabric.store, plan), "runs/studies/hunt/final.yaml")[1]
    copy = "mtlab sweep best hunt --as hunt-more.yaml && mtlab run hunt-more.yaml"
    assert line.endswith(f"power: {copy} 'study.seeds=[1004,1005,1006,1007,1008,1009]'")
    winners = "axes: {winner: {zip: {train.lr: [1e-3, RATE]}, labels: [bridge, static]}}\n"
    final = fabric.store.study("hunt") / "final.yaml"
    final.parent.mkdir(parents=True)
    final.write_text(f"name: hunt-final\n{winners.replace('RATE', '2e-3')}")
    (tmp_path / "hunt-more.yaml").write_text(f"name: hunt-more\n{winners.replace('RATE', '4e-3')}")  # those of then
    monkeypatch.chdir(tmp_path)
    line = closing_lines(build_report(fabric.store, plan), "runs/studies/hunt/final.yaml")[1]
    assert "--as hunt-more-2.yaml && mtlab run hunt-more-2.yaml" in line
    (tmp_path / "hunt-more.yaml").write_text(f"name: hunt-more\n{winners.replace('RATE', '2e-3')}")  # followed once
    line = closing_lines(build_report(fabric.store, plan), "runs/studies/hunt/final.yaml")[1]
    assert line.endswith("power: mtlab run hunt-more.yaml 'study.seeds=[1004,1005,1006,1007,1008,1009]'")
    own = closing_lines(build_report(fabric.store, plan | {"study": "mine-final"}), "mine-final.yaml")[1]
    assert "mtlab run mine-final.yaml" in own


def test_settings_of_the_command_line_are_kept_as_runs_without_them_are_others(fabric: Fabric) -> None:
    fabric.finish("bridge", 0, 0.7)
    plan, given = fabric.plan(["bridge", "static"], seeds=1), ["train.lr=1e-4", "study.seeds=1"]
    unfinished = closing_lines(build_report(fabric.store, plan), "trial.yaml", given)
    assert unfinished[1] == "next: mtlab run trial.yaml train.lr=1e-4 study.seeds=1 (does the rest)"
    fabric.finish("static", 0, 0.8)
    more = closing_lines(build_report(fabric.store, plan), "trial.yaml", given)
    assert more[1] == "next: mtlab run trial.yaml train.lr=1e-4 study.seeds=5 (finished runs are kept)"


def test_commands_name_another_store_and_a_study_whose_name_was_overridden(fabric: Fabric) -> None:
    fabric.finish("bridge", 0, 0.7)
    fabric.fail("static", 0)
    report = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=1))
    store = Store(fabric.store.root / "my runs")
    named = f" --store '{store.root}'"
    assert closing_lines(report, "my trial.yaml", ["study.name=trial"], store)[1:] == [
        f"next: mtlab status trial{named} (why 1 run failed)",
        f"next: mtlab run 'my trial.yaml' study.name=trial{named} (does the rest)",
        f"all figures on one page: mtlab report trial --format html{named}",
    ]


def test_a_study_that_python_declared_goes_on_in_python(fabric: Fabric) -> None:
    fabric.finish("bridge", 0, 0.7)
    report = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=1))
    lines = closing_lines(report, "runs/studies/trial/declared.yaml")
    assert lines[1] == "next: mtlab.Study.load(…).run() (does the rest)"


def test_a_difference_that_is_shown_needs_nothing_more(fabric: Fabric) -> None:
    (found,) = told(fabric, {"bridge": BRIDGE, "static": (0.80, 0.83, 0.79, 0.82, 0.78)}, 5)
    assert found == "found: On test/accuracy (p ≤ 0.05): static is better than bridge."


def test_undecided_tells_how_many_seeds_would_show_what_was_observed(fabric: Fabric) -> None:
    curious = {"bridge": BRIDGE, "static": (0.74, 0.70, 0.75, 0.69, 0.74)}
    found, step = told(fabric, curious, 5, test="paired_t")
    assert "no difference to bridge is shown for static" in found
    differences = [0.04, -0.02, 0.06, -0.02, 0.06]
    sd = (sum((each - 0.024) ** 2 for each in differences) / 4) ** 0.5
    needed = next(n for n in range(2, 100) if (smallest_detectable(sd, n) or 1) <= 0.024)
    assert (
        f"next: {needed} fresh seeds would show a difference as large as that of static, +2.4, with 80% power: " in step
    )
    assert step.endswith(f"make `seeds` of the study a list of 5 to {needed + 4}, and run it again")


def test_many_seeds_that_follow_a_list_are_told_as_a_range(fabric: Fabric) -> None:
    for cell, accuracies in (("bridge", BRIDGE), ("static", (0.74, 0.70, 0.75, 0.69, 0.74))):
        for seed, accuracy in enumerate(accuracies, start=3):
            fabric.finish(cell, seed, accuracy)
    listed = fabric.plan(["bridge", "static"], seeds=8, test="paired_t")
    listed["seeds"] = [3, 4, 5, 6, 7]
    listed["runs"] = [run for run in listed["runs"] if run["seed"] >= 3]
    (step,) = (line for line in closing_lines(build_report(fabric.store, listed), "trial.yaml") if "would show" in line)
    needed = int(step.removeprefix("next: ").split()[0])
    assert step.endswith(f"power: make `seeds` of the study a list of 8 to {needed + 7}, and run it again")


def test_differences_that_no_number_of_seeds_shows_ask_for_a_margin(fabric: Fabric) -> None:
    _, step = told(fabric, {"bridge": BRIDGE, "static": (0.71, 0.71, 0.70, 0.70, 0.68)}, 5)
    assert "too small to be shown by 100 seeds" in step
    assert "`report: {equivalence: 0.5}`" in step


def test_identical_variants_ask_for_nothing(fabric: Fabric) -> None:
    for cell in ("bridge", "static"):
        for seed in range(3):
            fabric.finish(cell, seed, 1.0)
    report = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=3))
    assert [line.partition(":")[0] for line in closing_lines(report, "f")] == ["found", "all figures on one page"]


def test_what_has_not_learned_is_to_be_trained(fabric: Fabric) -> None:
    chance = (0.57, 0.56, 0.55, 0.57, 0.56)
    found, step = told(fabric, {"bridge": BRIDGE, "last": chance}, 5, floor=0.56)
    assert "last has not learned" in found
    assert step.startswith("next: train longer")


def test_without_a_baseline_nothing_is_compared(fabric: Fabric) -> None:
    found, step = told(fabric, {"bridge": BRIDGE, "static": BRIDGE}, 5, baseline=None)
    assert "nothing is compared" in found
    assert step == "next: give the study a `baseline:`, to have the variants compared"
    assert len(told(fabric, {"bridge": BRIDGE}, 5, baseline=None)) == 1


def test_speed_is_told_where_it_was_shown(fabric: Fabric) -> None:
    areas = {"bridge": (0.30, 0.31, 0.29, 0.30), "static": (0.60, 0.62, 0.59, 0.61), "adaptive": (0.31, 0.29, 0.3, 0.3)}
    for cell, heights in areas.items():
        for seed, height in enumerate(heights):
            run = fabric.finish(cell, seed, 0.7 + 0.01 * seed)
            rows = [{"step": step, "val/accuracy": height + step / 4000} for step in (200, 400, 800)]
            (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lines = closing_lines(build_report(fabric.store, fabric.plan(list(areas), seeds=4, test="paired_t")), "f")
    assert lines[1] == "speed: static learns faster than bridge (area under val/accuracy)"


@pytest.mark.parametrize("sd", [0.5, 1.0, 3.0])
def test_the_seeds_that_detect_are_the_fewest(sd: float) -> None:
    found = seeds_to_detect(1.0, sd, most=200)
    assert found is not None
    assert (smallest_detectable(sd, found) or 0) <= 1.0 < (smallest_detectable(sd, found - 1) or 9e9)
    assert seeds_to_detect(1.0, 20.0, most=100) is None
    assert seeds_to_detect(-1.0, sd, most=200) == found


def test_a_difference_that_is_the_same_of_each_seed_needs_few_more(fabric: Fabric) -> None:
    for seed in range(4):
        fabric.finish("bridge", seed, 0.60 + 0.01 * seed, outcomes=False)
        fabric.finish("static", seed, 0.70 + 0.01 * seed, outcomes=False)
    lines = closing_lines(build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=4)), "trial.yaml")
    assert lines[1].startswith("next: 6 fresh seeds would show a difference as large as that of static, +10.0")
    assert lines[1].endswith("mtlab run trial.yaml 'study.seeds=[4,5,6,7,8,9]'")


def test_spreads_of_rows_that_are_not_compared_say_nothing_of_more_seeds(fabric: Fabric) -> None:
    """A row that has not learned in one of its seeds differs by tens of points from seed to seed."""
    wild, calm = (0.50, 0.90, 0.52), (0.71, 0.70, 0.72)
    for cell, values in (("bridge", (0.70, 0.71, 0.72)), ("static", calm), ("last", wild), ("sparse", wild)):
        for seed, accuracy in enumerate(values):
            fabric.finish(cell, seed, accuracy, floor=0.5)
    several, alone = (
        [note for note in build_report(fabric.store, fabric.plan(cells, seeds=3)).notes if "tend to go unseen" in note]
        for cells in (["bridge", "static", "last", "sparse"], ["bridge", "static"])
    )
    assert several == alone
    assert len(alone) == 1
