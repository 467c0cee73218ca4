"""The time that a plan takes: of runs that are missing, from a few timed steps."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_study import write_study

from mtlab.launch.prepare import plan_study
from mtlab.resolution.interventions import intervention_passes
from mtlab.studies.budget import calibration, time_estimate
from mtlab.studies.budget.calibration import Speed
from mtlab.studies.budget.flops import tower_cost
from mtlab.studies.budget.time_estimate import estimate_time
from mtlab.studies.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    study = write_study(tmp_path, "axes: {train.batch: [4, 8]}\nseeds: 2")
    return plan_study(study, [], plugins=False)


def test_missing_runs_count_by_their_examples(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def calibrate(config: dict[str, dict[str, int]], *_: object, **__: object) -> Speed:
        timed.append(config["train"]["batch"])
        return Speed(0.01, 3, 4, "cpu", 1)

    monkeypatch.setattr(time_estimate, "calibrate", calibrate)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    states = {run.id: "new" for run in plan.runs}
    found = estimate_time(plan, states, at_once=2)
    assert found is not None
    config = plan.runs[0].cell.config
    passes = intervention_passes(config)
    assert config["record"]["interventions"]
    assert passes > 0
    evaluated = (2 * 16 + 16 + 16 + passes * 16) / 3  # validated twice and at the end, tested, without each level
    assert found.seconds == pytest.approx(0.01 * 2 * (6 * 4 + 6 * 8 + 2 * evaluated))
    assert found.wall_seconds == pytest.approx(found.seconds / 2)
    done = dict.fromkeys([run.id for run in plan.runs if run.cell.config["train"]["batch"] == 8], "done")
    less = estimate_time(plan, states | done, at_once=8)
    assert less is not None
    assert less.seconds == pytest.approx(0.01 * 2 * (6 * 4 + evaluated))
    assert less.at_once == 2
    assert estimate_time(plan, states, at_once=2) == found
    resources = replace(plan.study.keys.resources, processes=2)
    shared = replace(plan, study=replace(plan.study, keys=replace(plan.study.keys, resources=resources)))
    halved = estimate_time(shared, states, at_once=1)
    assert halved is not None
    assert halved.wall_seconds == pytest.approx(found.wall_seconds)
    assert timed == [8, 4], "that of the middle, measured once, then cached"
    assert estimate_time(plan, dict.fromkeys(states, "done"), at_once=2) is None
    monkeypatch.setattr(time_estimate, "LARGEST_STEP", 1.0)
    assert estimate_time(plan, states, at_once=2) is None


def test_an_evaluated_pair_is_a_ninth_of_an_example_trained_with_hard_negatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = "task: {name: retrieval, candidates: 10}, data: {name: shapes_captions, train: 64, val: 16, test: 16}"
    settings = (
        f"set: {{{task}, record: {{interventions: false}}}}\nmetrics: {{choose: val/recall, verdict: test/recall}}"
    )
    study = write_study(tmp_path, settings)
    made = plan_study(study, [], plugins=False)
    monkeypatch.setattr(time_estimate, "calibrate", lambda *_, **__: Speed(0.01, 3, 8, "cpu", 1))
    found = estimate_time(made, {run.id: "new" for run in made.runs}, at_once=1)
    assert found is not None
    evaluated = (2 * 16 + 16 + 16) * 10 / 9  # one forward pass; in training there are three, and backward passes
    assert found.seconds == pytest.approx(0.01 * (6 * 8 + evaluated))


def test_pre_training_is_timed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen tower that reads masked words takes another time for its FLOPs than the small model on cached levels."""
    task = (
        "task: {name: pretraining, objectives: [mlm, itm]}, data: {name: shapes_captions, train: 64, val: 16, test: 16}"
    )
    metrics = "metrics: {choose: val/accuracy, verdict: test/accuracy}"
    write_study(tmp_path, f"set: {{{task}, record: {{interventions: false}}}}\n{metrics}\nseeds: 2", name="first")
    study = write_study(tmp_path, "set: {record: {interventions: false}}\ninit_from: {study: first}\nseeds: 2")
    made = plan_study(study, [], plugins=False)
    monkeypatch.setattr(
        time_estimate,
        "calibrate",
        lambda config, *_, **__: Speed(0.07 if config["task"]["name"] == "pretraining" else 0.01, 3, 8, "cpu", 1),
    )
    found = estimate_time(made, {run.id: "new" for run in made.runs}, at_once=1)
    assert found is not None
    assert len(found.timed) == 2
    (parent,) = {run.parent.cell.id: run.parent.cell for run in made.runs if run.parent is not None}.values()
    masked = tower_cost("text", parent.config["text"]).flops / parent.cost.flops_training
    assert 0 < masked < 1
    evaluated = (masked + (1 - masked) / 3) / 2 * 2 * (2 * 16 + 16 + 16)  # two forward passes each, and the tower once
    child = 6 * 8 + (2 * 16 + 16 + 16) / 3
    assert found.seconds == pytest.approx(2 * (0.07 * (6 * 8 + evaluated) + 0.01 * child))


def test_steps_that_are_too_large_to_time_are_not_judged_by_those_of_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(tmp_path, "axes: {cache.enabled: [true, false]}\nset: {record: {interventions: false}}")
    made = plan_study(study, [], plugins=False)
    states = {run.id: "new" for run in made.runs}
    monkeypatch.setattr(time_estimate, "calibrate", lambda *_, **__: Speed(0.01, 3, 8, "cpu", 1))
    both = estimate_time(made, states, at_once=1)
    assert both is not None
    assert len(both.timed) == 2
    cached, live = (run.cell.cost.flops_training for run in made.runs)
    assert cached < live
    monkeypatch.setattr(time_estimate, "LARGEST_STEP", cached * 8)
    assert estimate_time(made, states, at_once=1) is None


def test_a_card_that_is_full_hides_no_plan(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def calibrate(*_: object, **__: object) -> Speed:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(time_estimate, "calibrate", calibrate)
    assert estimate_time(plan, {run.id: "new" for run in plan.runs}, at_once=2) is None


def test_on_a_cpu_other_programs_do_not_count(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([100.0, 105.0])  # of this thread, before and after the steps
    monkeypatch.setattr(calibration.time, "thread_time", lambda: next(took))
    config = plan.runs[0].cell.config
    config = {**config, "train": {**config["train"], "threads": 2}}
    speed = calibration.calibrate(config, None, answers=4, text_tokens=8, seconds=0.0)
    assert (speed.device, speed.threads) == ("cpu", 2)
    assert speed.seconds_per_example == pytest.approx(5 / (calibration.MIN_STEPS * config["train"]["batch"]))


def test_a_busy_machine_and_an_idle_one_are_timed_once_each(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.1, 0.01])  # a third timing would raise
    monkeypatch.setattr(time_estimate, "calibrate", lambda *_, **__: Speed(next(seconds), 3, 4, "cpu", 1))
    states = {run.id: "new" for run in plan.runs}
    cpus = float(os.cpu_count() or 1)
    monkeypatch.setattr(os, "getloadavg", lambda: (cpus, 0.0, 0.0))
    busy = estimate_time(plan, states, at_once=2)
    assert estimate_time(plan, states, at_once=2) == busy
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, cpus, cpus))
    idle = estimate_time(plan, states, at_once=2)
    assert busy is not None
    assert idle is not None
    assert busy.seconds == pytest.approx(10 * idle.seconds)
    assert estimate_time(plan, states, at_once=2) == idle


def test_real_steps_are_timed(plan: Plan) -> None:
    found = estimate_time(plan, dict.fromkeys([run.id for run in plan.runs], "new"), at_once=1)
    assert found is not None
    assert 0 < found.seconds < 3600
    assert "with 1 at once: steps of 'batch 8' timed on " in found.describe()


def test_a_plan_does_not_wait_for_image_decoders() -> None:
    code = (
        "import sys, mtlab.studies.budget.time_estimate;"
        "print(sorted({'torchvision', 'torch._dynamo'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"
