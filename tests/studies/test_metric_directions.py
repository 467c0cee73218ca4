"""Which way a metric is better is its task's word: for the checkpoint, the verdict and the search, each its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from imagined import free, write_sweep
from tiny_runs import run_folder
from tiny_study import write_study

from mtlab.config.plugins import import_plugins
from mtlab.errors import UserError
from mtlab.runs.store import metric_direction
from mtlab.studies.plan import make_plan, to_json
from mtlab.studies.spec import read_study
from mtlab.sweeps import plan as sweeps
from mtlab.sweeps.spec import read_sweep
from mtlab.sweeps.variants import prepare
from mtlab.training.worker import train

PLUGIN = """
from typing import ClassVar

from mtlab.tasks.base import Directions, register_task
from mtlab.tasks.question_answering import QuestionAnswering


@register_task("erring_answers")
class ErringAnswers(QuestionAnswering):
    metrics: ClassVar[Directions] = {"distance": "min", "accuracy": "max"}

    @classmethod
    def metric_directions(cls, config, provides):
        return cls.metrics
"""
SPACE = "space: {train.lr: {float: [1e-4, 1e-1], log: true}}"


def planned(folder: Path, text: str) -> dict[str, Any]:
    return to_json(make_plan(read_study(write_study(folder, text)), free))


def modes(folder: Path, text: str) -> set[str]:
    cells = make_plan(read_study(write_study(folder, text)), free).cells
    return {cell.config["metrics"]["mode"] for cell in cells}


def test_the_lowest_loss_chooses_and_the_highest_accuracy_wins(tmp_path: Path) -> None:
    text = "metrics: {choose: val/loss, verdict: test/accuracy}"
    assert modes(tmp_path, text) == {"min"}
    plan = planned(tmp_path, text)
    assert plan["directions"] == {"val/loss": "min", "test/accuracy": "max"}
    names = ("val/loss", "test/accuracy/colour", "test/accuracy/near/far")
    assert [metric_direction(plan, name) for name in names] == ["min", "max", "max"]


def test_a_run_keeps_the_checkpoint_of_its_lowest_loss(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, metrics={"choose": "val/loss"}, train={"lr": 0.01})
    assert train(folder) == 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["val/loss"] for line in lines if "val/loss" in line}
    assert len(set(losses.values())) > 1
    assert json.loads((folder / "result.json").read_text())["best_step"] == min(losses, key=losses.__getitem__)


def test_a_mode_that_is_written_changes_no_id(tmp_path: Path) -> None:
    ids = {planned(tmp_path, text)["rows"][0]["cell"] for text in ("", "metrics: {mode: max}")}
    assert len(ids) == 1


def test_a_plan_knows_every_metric_that_its_study_names(tmp_path: Path) -> None:
    text = "metrics: {report: [cost/flops]}\npublished: {test/loss: 0.4, test/accuracy: 0.9}"
    assert planned(tmp_path, text)["directions"] == {
        "val/accuracy": "max",
        "test/accuracy": "max",
        "cost/flops": "min",
        "test/loss": "min",
    }


def test_a_task_of_a_plug_in_says_which_way_its_metrics_are_better(tmp_path: Path) -> None:
    (tmp_path / "erring.py").write_text(PLUGIN)
    import_plugins(["erring"], tmp_path)
    plugin = "plugins: [erring]\nset: {task: erring_answers}\n"
    chosen = "metrics: {choose: val/primary, verdict: test/accuracy}"
    assert modes(tmp_path, plugin + chosen) == {"min"}
    assert planned(tmp_path, plugin + chosen)["directions"] == {"val/primary": "min", "test/accuracy": "max"}
    both = "plugins: [erring]\naxes: {task: [erring_answers, question_answering]}\nmetrics: {choose: val/primary}"
    with pytest.raises(UserError, match=r"metrics.choose: val/primary is better large for one task of the study and"):
        planned(tmp_path, both)
    path = write_sweep(tmp_path, f"{plugin}{SPACE}\nobjective: val/distance")
    assert [each.mode for each in prepare(read_sweep(path), free).sweep.objectives] == ["min"]


@pytest.mark.parametrize(
    ("metrics", "problem"),
    [
        ("choose: val/loss, verdict: test/loss, mode: max", "max contradicts val/loss, which is better small"),
        ("choose: val/loss, mode: min", "min contradicts test/accuracy, which is better large: leave mode out"),
        ("mode: min", "min contradicts val/accuracy, which is better large: leave mode out"),
    ],
)
def test_a_mode_against_a_metric_is_refused(tmp_path: Path, metrics: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        planned(tmp_path, f"metrics: {{{metrics}}}")
    assert f"metrics.mode: {problem}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_floor_of_a_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report.floor: a variant must be above it, and test/loss is better small"):
        planned(tmp_path, "metrics: {verdict: test/loss}\nreport: {floor: 2.5}")


def test_a_sweep_knows_each_of_its_metrics(tmp_path: Path) -> None:
    text = f"{SPACE}\nmetrics: {{choose: val/loss, verdict: test/accuracy}}\nobjective: [val/accuracy, cost/flops]"
    prepared = prepare(read_sweep(write_sweep(tmp_path, text)), free)
    plan = sweeps.to_json(prepared)
    assert plan["objectives"] == [{"metric": "val/accuracy", "mode": "max"}, {"metric": "cost/flops", "mode": "min"}]
    assert plan["metrics"]["verdict"] == "val/accuracy"
    assert {name: plan["directions"][name] for name in ("val/loss", "val/accuracy", "cost/flops")} == {
        "val/loss": "min",
        "val/accuracy": "max",
        "cost/flops": "min",
    }
    assert plan["recipe"]["metrics"] == {"choose": "val/loss", "verdict": "test/accuracy", "report": []}
