"""`seeds: {until: decided, …}`: the key, its plan, and the record of looks."""

from pathlib import Path
from typing import Any

import pytest
from tiny_study import write_study

from mtlab.errors import UserError
from mtlab.runs.store import Store
from mtlab.studies.looks import Looks, LookTest, append_look, other_records, read_looks, record_path
from mtlab.studies.plan import make_plan, to_json
from mtlab.studies.plan_status import asked_plan
from mtlab.studies.spec import read_study

COMPARED = "axes: {manager: [bridge, static, last]}\nbaseline: {manager: bridge}"


def planned(folder: Path, seeds: str, text: str = COMPARED) -> Any:
    path = write_study(folder, f"{text}\nseeds: {seeds}")
    return make_plan(read_study(path))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs", create=True)


@pytest.mark.parametrize(
    ("seeds", "problem"),
    [
        ("{until: sure}", "seeds.until: 'sure' is not one of decided"),
        ("{max: 9}", "seeds: until when? Add `until: decided`"),
        ("{until: decided, margin: 0}", "seeds.margin: 0.0 is out of range: must be above 0"),
        ("{until: decided, margin: -1}", "seeds.margin: -1.0 is out of range"),
        ("{until: decided, margin: 100}", "seeds.margin: 100 points: no two results differ by more than 100"),
        ("{until: decided, min: 1}", "seeds.min: 1 is out of range: must be at least 2"),
        ("{until: decided, min: 9, max: 8}", "seeds.min: 9 is more than seeds.max, 8"),
        ("{until: decided, step: 0}", "seeds.step: 0 is out of range"),
        ("{until: decided, list: [0, 1]}", "seeds.list: `until` chooses how many: remove `list`"),
        ("{until: decided, n: 5}", "seeds.n: `until` chooses how many: remove `n`"),
        ("{until: decided, maximum: 5}", "seeds.maximum: unknown key; did you mean 'max'?"),
        ("{until: decided, spending: even}", "seeds.spending"),
        ("many", "seeds: expected a number, a list of numbers, or {until: decided, …}; found 'many'"),
    ],
)
def test_wrong_rules_are_refused_in_one_line(tmp_path: Path, seeds: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        planned(tmp_path, seeds)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'study.yaml'}:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("axes: {manager: [bridge, static]}", "seeds.until: nothing is compared, so nothing can be decided"),
        ("axes: {text: [tiny_text, blind]}\nbaseline: {text: tiny_text}", "seeds.until: nothing is compared"),
        (f"{COMPARED}\nreport: {{test: bootstrap}}", "report.test: seeds until decided are tested by paired_t"),
        (f"{COMPARED}\nmetrics: {{verdict: test/loss}}", "seeds: which difference of test/loss counts"),
        (f"{COMPARED}\nreport: {{equivalence: 2}}", "report.equivalence: seeds.margin says 0.5: remove one"),
    ],
)
def test_what_cannot_be_decided_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    margin = ", margin: 0.5" if "equivalence" in text else ""
    with pytest.raises(UserError, match=r"study\.yaml") as caught:
        planned(tmp_path, f"{{until: decided{margin}}}", text)
    assert problem in str(caught.value)


def test_equivalence_of_a_fixed_number_of_seeds_is_in_the_metrics_own_unit(tmp_path: Path) -> None:
    assert to_json(planned(tmp_path, "3", f"{COMPARED}\nreport: {{equivalence: 0.5}}"))["equivalence"] == 0.005
    loss = f"{COMPARED}\nmetrics: {{verdict: test/loss}}\nreport: {{equivalence: 0.02}}"
    assert to_json(planned(tmp_path, "3", loss))["equivalence"] == 0.02
    with pytest.raises(UserError, match=r"report\.test: equivalence is tested by paired_t"):
        planned(tmp_path, "12", f"{COMPARED}\nreport: {{equivalence: 0.5, test: bootstrap}}")
    with pytest.raises(UserError, match=r"report\.equivalence: 0\.0 is out of range"):
        planned(tmp_path, "3", f"{COMPARED}\nreport: {{equivalence: 0}}")


def test_the_plan_shows_the_looks_and_the_cost_from_least_to_most(tmp_path: Path, store: Store) -> None:
    plan = planned(tmp_path, "{until: decided, min: 3, max: 8, step: 2, first: 100}")
    rules = to_json(plan)["sequential"]
    assert rules["looks"] == [3, 5, 7, 8]
    assert [rules[key]["runs"] for key in ("at_least", "at_most")] == [9, 24]
    assert rules["at_most"]["flops"] == pytest.approx(rules["at_least"]["flops"] * 8 / 3)
    assert rules["spent"] == sorted(rules["spent"])
    assert rules["spent"][-1] == pytest.approx(0.05)
    assert len(rules["levels"]) == len(rules["levels_equivalence"]) == 4
    assert to_json(plan)["equivalence"] == 0.005  # the default for an accuracy: half a point
    asked, looks = asked_plan(plan, store)
    assert looks is not None
    assert sorted({run.seed for run in asked.runs}) == [100, 101, 102]
    assert {run.id for run in asked.runs} < {run.id for run in plan.runs}


def test_a_blind_model_is_never_asked_for_more_than_the_fewest(tmp_path: Path, store: Store) -> None:
    with_blind = "axes: {text: [tiny_text, blind], manager: [bridge, static]}\nbaseline: {manager: bridge}"
    plan = planned(tmp_path, "{until: decided, min: 3, max: 8}", with_blind)
    rules = to_json(plan)["sequential"]
    assert [rules[key]["runs"] for key in ("at_least", "at_most")] == [12, 2 * 8 + 2 * 3]


def test_runs_of_any_look_have_their_ordinary_ids(tmp_path: Path) -> None:
    fixed, sequential = planned(tmp_path, "8"), planned(tmp_path, "{until: decided, min: 3, max: 8}")
    assert {run.id for run in fixed.runs} == {run.id for run in sequential.runs}


def make_tests(looks: Looks, ended: Any = (None, None), n: int = 3) -> list[LookTest]:
    return [
        LookTest(*pair, n=n, difference=0.1, error=0.1, p=0.5, p_equivalence=1.0, p_corrected=1.0,
                 p_equivalence_corrected=1.0, ended=end)
        for pair, end in zip(looks.open, ended, strict=True)
    ]  # fmt: skip


def test_looks_are_recorded_once_and_decide_who_gets_more_seeds(tmp_path: Path, store: Store) -> None:
    plan = planned(tmp_path, "{until: decided, min: 3, max: 8}")
    data = to_json(plan)
    empty = read_looks(store, data)
    assert empty is not None
    bridge, static, last = (cell.id for cell in plan.cells)
    assert empty.seeds_of() == {bridge: 3, static: 3, last: 3}
    first = append_look(store, data, empty, make_tests(empty, ("difference", None)))
    assert first == read_looks(store, data)
    assert first.open == ((last, bridge),)
    assert first.seeds_of() == {bridge: 4, static: 3, last: 4}
    asked, _ = asked_plan(plan, store)
    assert sorted(run.seed for run in asked.runs if run.cell.id == static) == [0, 1, 2]
    # Another launcher has looked at the same time: its record holds, whatever this one has found.
    again = append_look(store, data, empty, make_tests(empty, ("equivalence", "equivalence")))
    assert again == first
    second = append_look(store, data, first, make_tests(first, ("max",), 4))
    assert not second.open
    assert second.last[static, bridge].ended == "difference"  # never changed by later looks


def test_another_question_has_another_record(tmp_path: Path, store: Store) -> None:
    plan = to_json(planned(tmp_path, "{until: decided, min: 3, max: 8}"))
    known = read_looks(store, plan)
    assert known is not None
    append_look(store, plan, known, make_tests(known))
    longer = to_json(planned(tmp_path, "{until: decided, min: 3, max: 12}"))
    assert record_path(store, longer) != record_path(store, plan)
    empty = read_looks(store, longer)
    assert empty is not None
    assert not empty.taken
    assert (other_records(store, longer), other_records(store, plan)) == (1, 0)
    relabelled = COMPARED.replace("static", "{name: static, label: S}").replace("baseline", "why: x\nbaseline")
    same = to_json(planned(tmp_path, "{until: decided, min: 3, max: 8}", relabelled))
    assert record_path(store, same) == record_path(store, plan)


def test_a_changed_record_is_refused(tmp_path: Path, store: Store) -> None:
    plan = to_json(planned(tmp_path, "{until: decided, min: 3, max: 8}"))
    known = read_looks(store, plan)
    assert known is not None
    append_look(store, plan, known, make_tests(known))
    path = record_path(store, plan)
    path.write_text(path.read_text().replace('"n": 3', '"n": 4'))
    with pytest.raises(UserError, match="has changed since it was written"):
        read_looks(store, plan)
