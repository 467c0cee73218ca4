"""Conditions mean the same in every form, override one another, and are judged on what a cell has in the end."""

from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab.errors import UserError
from mtlab.studies.cell_cost import cell_cost
from mtlab.studies.cells import make_cells
from mtlab.studies.expand import expand
from mtlab.studies.spec import read_study
from mtlab.sweeps.spec import read_sweep

FORMS = ("{manager.name: static}", "{manager: static}", "{manager: {name: static}}")
MANAGERS = "manager: [bridge, static]"
WEIGHT = "manager.weight: [scalar, vector]"
OF_SCALAR = "train.lr: {values: [1e-3, 1e-2], when: {manager.weight: scalar}}"


def labels(folder: Path, text: str, *overrides: str) -> list[str]:
    return [row.label for row in expand(read_study(write_study(folder, text), overrides))]


def told(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        make_cells(read_study(write_study(folder, text), overrides), cell_cost)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by", ["manager.name=bridge", "manager=bridge", "manager={name: bridge}"])
def test_an_override_of_a_condition_replaces_it_in_every_form(tmp_path: Path, form: str, by: str) -> None:
    text = f"axes: {{{MANAGERS}, train.lr: {{values: [1e-3, 1e-2], when: {form}}}}}"
    assert labels(tmp_path, text) == ["bridge", "static · lr 0.001", "static · lr 0.01"]
    changed = ["bridge · lr 0.001", "bridge · lr 0.01", "static"]
    assert labels(tmp_path, text, f"study.axes.train.lr.when.{by}") == changed


@pytest.mark.parametrize("form", FORMS)
def test_a_file_overrides_the_condition_of_its_base(tmp_path: Path, form: str) -> None:
    (tmp_path / "low.yaml").write_text(f"axes: {{train.lr: {{values: [1e-3, 1e-2], when: {form}}}}}\n")
    path = write_study(tmp_path, f"axes:\n  {MANAGERS}\n  train.lr: {{when: {{manager: bridge}}}}")
    path.write_text(path.read_text().replace("base: tiny", "base: [tiny, low]"))
    found = [row.label for row in expand(read_study(path))]
    assert found == ["bridge · lr 0.001", "bridge · lr 0.01", "static"]


def test_a_condition_is_given_once(tmp_path: Path) -> None:
    axis = "\n  train.lr:\n    values: [1e-3]\n    when:\n      manager: static\n      manager.name: bridge"
    problem = "axes.train.lr.when.manager.name: is given twice, by path and within its section: keep one"
    assert told(tmp_path, f"axes:\n  {MANAGERS}{axis}") == f"study.yaml:9: {problem}"
    override = "study.axes.train.lr={values: [1e-3], when: {manager: static, manager.name: bridge}}"
    assert told(tmp_path, f"axes: {{{MANAGERS}}}", override) == f"command line: {problem}"


def test_a_wrong_condition_is_told_where_it_stands(tmp_path: Path) -> None:
    for manager in ("manager: statc", "manager:\n        name: statc"):
        axis = f"\n  train.lr:\n    values: [1e-3]\n    when:\n      {manager}"
        problem = told(tmp_path, f"axes:\n  {MANAGERS}{axis}")
        assert problem == "study.yaml:8: axes.train.lr.when.manager.name: no cell has 'statc'"


def test_conditions_of_a_search_are_written_alike(tmp_path: Path) -> None:
    text = "kind: sweep\nspace: {train.lr: {float: [1e-4, 1e-2], unless: {manager: {name: bridge}}}}"
    path = write_study(tmp_path, text)
    assert read_sweep(path).space["train.lr"].unless == {"manager.name": "bridge"}
    changed = read_sweep(path, ["study.space.train.lr.unless.manager=static"])
    assert changed.space["train.lr"].unless == {"manager.name": "static"}


@pytest.mark.parametrize("naming", ["manager.name: [static, adaptive]", "m: {zip: {manager: [static, adaptive]}}"])
def test_conditions_are_judged_with_options_on_top_of_nodes(tmp_path: Path, naming: str) -> None:
    found = labels(tmp_path, f"axes: {{{WEIGHT}, {naming}, {OF_SCALAR}}}")
    assert [" · lr" in label for label in found] == [True] * 4 + [False] * 2
    assert all(("scalar" in label) == (" · lr" in label) for label in found)
    assert found[0].startswith("manager.weight scalar · ")  # axes in the order in which they are written


def test_a_condition_depends_on_no_later_name(tmp_path: Path) -> None:
    text = f"set: {{manager: {{name: static, weight: scalar}}}}\naxes: {{{OF_SCALAR}, text.name: [tiny_text, blind]}}"
    assert len(labels(tmp_path, text)) == 4
    problem = told(tmp_path, f"axes: {{{OF_SCALAR}, manager.name: [static, adaptive]}}")
    assert problem.endswith(
        "axes.train.lr.when.manager.weight: depends on axis 'manager.name', which must come before it"
    )


def test_cells_that_do_not_work_yet_can_be_judged(tmp_path: Path) -> None:
    """A bridge has no temperature; the managers that the last axis names do."""
    lr = "train.lr: {values: [1e-3, 1e-2], when: {train.batch: 8}}"
    text = f"axes: {{manager.temperature: [0.5, 1], {lr}, manager.name: [static, adaptive]}}"
    (tmp_path / "low.yaml").write_text("set: {manager: bridge}\n")
    path = write_study(tmp_path, text)
    path.write_text(path.read_text().replace("base: tiny", "base: [tiny, low]"))
    assert len(expand(read_study(path))) == 8


def test_a_mapping_names_all_cells_that_have_what_it_says(tmp_path: Path) -> None:
    lengths = "train.length: [{steps: 6}, {steps: 8}]"
    of_one = "{train.length: {steps: 6}}"
    axes = f"axes: {{{lengths}, train.lr: {{values: [1e-3, 1e-2], when: {of_one}}}}}"
    assert labels(tmp_path, axes) == ["length steps 6 · lr 0.001", "length steps 6 · lr 0.01", "length steps 8"]
    managers = "axes: {manager: [bridge, {name: static, weight: scalar}, {name: static, weight: vector}]}"
    for rule in ("{manager: {name: static}}", "{manager: [{weight: scalar}, {weight: vector, frozen: false}]}"):
        assert labels(tmp_path, f"{managers}\nexclude: [{rule}]") == ["bridge"]
    both = ["bridge", "static (weight vector)"]
    assert labels(tmp_path, f"{managers}\nexclude: [{{manager: {{weight: scalar}}}}]") == both
    as_written = managers.replace(", weight: scalar", "")  # which names this value alone, as its label does
    assert labels(tmp_path, f"{as_written}\nexclude: [{{manager: {{name: static}}}}]") == both
    assert "exclude[0].manager: {'name': 'mean'} matches no value" in told(
        tmp_path, f"{managers}\nexclude: [{{manager: {{name: mean}}}}]"
    )


@pytest.mark.parametrize("match", ["{manager: {name: static}}", "{manager: static}", "{manager.name: static}"])
def test_a_parent_is_named_in_every_form(tmp_path: Path, match: str) -> None:
    write_study(tmp_path, f"axes: {{{MANAGERS}}}", "parents")
    path = write_study(tmp_path, f"set: {{manager: static}}\ninit_from: {{study: parents, match: {match}}}")
    (cell,) = make_cells(read_study(path), cell_cost)
    assert cell.parent is not None
    assert cell.parent.row.label == "static"


def test_a_parent_is_named_by_its_length(tmp_path: Path) -> None:
    write_study(tmp_path, "axes: {train.length: [{steps: 4}, {steps: 6}]}", "parents")
    path = write_study(tmp_path, "init_from: {study: parents, match: {train.length: {steps: 4}}}")
    (cell,) = make_cells(read_study(path), cell_cost)
    assert cell.parent is not None
    assert cell.parent.steps == 4
