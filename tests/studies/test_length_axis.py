"""How long to train, as an axis: equal steps beside equal FLOPs, of which a variant may need the same."""

from pathlib import Path
from typing import Any

import pytest

from mtlab.errors import UserError
from mtlab.runs.store import Store
from mtlab.studies.looks import planned_pairs
from mtlab.studies.plan import Plan, make_plan, to_json
from mtlab.studies.plan_status import asked_plan
from mtlab.studies.spec import read_study

STUDY = """
kind: ablation
name: study
set:
  text: {name: tiny_text, layers: top2}
  vision: {name: tiny_vision, layers: top2}
  data: {name: shapes, train: 64, val: 16, test: 16}
  model: {width: 16, heads: 2, cross_layers: 1}
  train: {batch: 8}
"""
COMPARED = "baseline: {manager: bridge}\nseeds: 2\n"


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    def make(text: str) -> Plan:
        missing = [line for line in COMPARED.splitlines() if line.partition(" ")[0] not in text]
        (tmp_path / "study.yaml").write_text("\n".join([STUDY, text, *missing, ""]))
        return make_plan(read_study(tmp_path / "study.yaml"))

    return make


def axis(flops: float) -> str:
    lengths = f"[{{steps: 40, label: equal steps}}, {{flops: {flops!r}, label: equal FLOPs}}]"
    return f"axes: {{manager: [bridge, static], train.length: {lengths}}}"


def test_each_row_is_compared_with_the_baseline_trained_as_long(plan: Any) -> None:
    data = to_json(plan(axis(1e8)))
    rows = {row["label"]: row for row in data["rows"]}
    assert list(rows) == [
        f"{manager} · length equal {what}" for manager in ("bridge", "static") for what in ("steps", "FLOPs")
    ]
    for what in ("steps", "FLOPs"):
        row, baseline = rows[f"static · length equal {what}"], rows[f"bridge · length equal {what}"]
        assert row["compare_to"] == baseline["cell"]
        assert row["axis_labels"] == {"manager": "static", "train.length": f"length equal {what}"}
    used = {run["cell"]: run["cost"] for run in data["runs"]}
    steps = {label: used[row["cell"]]["steps"] for label, row in rows.items()}
    assert steps["bridge · length equal steps"] == steps["static · length equal steps"] == 40
    assert steps["bridge · length equal FLOPs"] > steps["static · length equal FLOPs"]
    for manager in ("bridge", "static"):
        cost = used[rows[f"{manager} · length equal FLOPs"]["cell"]]
        assert cost["flops"] == pytest.approx(1e8, rel=0.5 / cost["steps"])


def test_flops_that_one_variant_needs_for_the_steps_are_one_cell_run_once(plan: Any) -> None:
    first = to_json(plan(axis(1e8)))
    flops = next(run["cost"]["flops"] for run in first["runs"] if run["label"] == "bridge · length equal steps")
    data = to_json(plan(axis(flops)))
    cells = [row["cell"] for row in data["rows"]]
    assert cells[0] == cells[1]
    assert len(set(cells)) == 3
    assert len({run["id"] for run in data["runs"]}) == len(data["runs"]) == 6
    assert plan(f"{axis(flops)}\nbudget: {{max_runs: 6}}").runs
    with pytest.raises(UserError, match="6 runs"):
        plan(f"{axis(flops)}\nbudget: {{max_runs: 5}}")


def test_a_row_that_is_the_same_cell_as_its_baseline_is_not_compared_with_itself(plan: Any, tmp_path: Path) -> None:
    flops = next(run["cost"]["flops"] for run in to_json(plan(axis(1e8)))["runs"] if "bridge" in run["label"])
    baseline = "baseline: {manager: bridge, train.length: equal steps}"
    data = to_json(plan(f"{axis(flops)}\n{baseline}"))
    first, same, *_ = data["rows"]
    assert same["cell"] == first["cell"]
    assert (same["compare_to"], same["note"]) == (None, "the same cell as bridge · length equal steps: not compared")
    assert len(planned_pairs(data)) == 2, "the other manager at both lengths"
    until = "seeds: {until: decided, min: 2, max: 3}"
    sequential = plan(f"{axis(flops)}\n{baseline}\n{until}")
    asked, _ = asked_plan(sequential, Store.open(tmp_path / "runs", create=True))
    assert {run.cell.row.label for run in asked.runs if run.cell.id == first["cell"]} == {first["label"]}
    with pytest.raises(UserError, match=r"seeds\.until: nothing is compared"):
        plan(f"{axis(flops).replace(', static', '')}\n{baseline}\n{until}")


def test_other_twins_are_refused_still(plan: Any) -> None:
    with pytest.raises(UserError, match="are the same cell"):
        plan("axes: {manager: [bridge, static], train.threads: [1, 2]}")


@pytest.mark.parametrize(
    ("zipped", "labels"),
    [
        (
            "train.length: [{steps: 20}, {steps: 40}], train.lr: [1e-3, 5e-4]",
            ("long length steps 20, lr 0.001", "long length steps 40, lr 0.0005"),
        ),
        ("train.length: [{steps: 20}, {steps: 40}]", ("long length steps 20", "long length steps 40")),
        ("train.length.steps: [20, 40]", ("long steps 20", "long steps 40")),
    ],
)
def test_a_length_may_have_a_name_of_its_own_and_move_with_other_settings(
    plan: Any, zipped: str, labels: tuple[str, str]
) -> None:
    from mtlab.report.side_by_side import block_label, variant_label

    rows = to_json(plan(f"axes: {{manager: [bridge, static], long: {{zip: {{{zipped}}}}}}}"))["rows"]
    assert [(variant_label(row), block_label(row)) for row in rows[:2]] == [("bridge", label) for label in labels]
