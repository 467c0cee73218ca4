"""A setting means the same wherever it is written: in an axis, a base, an override, in any order."""

from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab.config.load import compose
from mtlab.errors import UserError
from mtlab.studies.axes import with_settings
from mtlab.studies.expand import StudyRow, expand
from mtlab.studies.plan import make_plan
from mtlab.studies.recipes import rename
from mtlab.studies.spec import read_study

MANAGERS = "axes: {manager: {values: [bridge, static]}}"


def rows(folder: Path, text: str, *overrides: str) -> tuple[StudyRow, ...]:
    return expand(read_study(write_study(folder, text), overrides))


def labels(folder: Path, text: str, *overrides: str) -> list[str]:
    return [row.label for row in rows(folder, text, *overrides)]


def told(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        make_plan(read_study(write_study(folder, text), overrides))
    return str(caught.value)


def test_the_name_of_a_node_comes_before_its_options(tmp_path: Path) -> None:
    zipped = "axes: {v: {zip: {manager.weight: [scalar, scalar], manager.name: [static, adaptive]}}}"
    assert [row.config["manager"]["weight"] for row in rows(tmp_path, zipped)] == ["scalar", "scalar"]
    apart = "axes: {manager.weight: [scalar], manager.name: [static, adaptive]}"
    assert [row.config["manager"]["weight"] for row in rows(tmp_path, apart)] == ["scalar", "scalar"]
    searched = with_settings({"manager": {"name": "adaptive"}}, {"manager.weight": "scalar", "manager.name": "static"})
    assert searched == {"manager": {"name": "static", "weight": "scalar"}}


def test_an_empty_section_does_not_wipe_that_of_a_base(tmp_path: Path) -> None:
    write_study(tmp_path, MANAGERS).rename(tmp_path / "low.yaml")
    for text, key in (("set:\n  train:\n", "set.train"), ("set:\n", "set")):
        (tmp_path / "study.yaml").write_text(f"kind: ablation\nname: high\nbase: low\n{text}")
        with pytest.raises(UserError, match=rf"study\.yaml:\d: {key}: is empty, .*: leave the key out"):
            read_study(tmp_path / "study.yaml")


def test_a_setting_that_no_cell_has_is_refused_where_one_axis_varies_at_a_time(tmp_path: Path) -> None:
    text = (
        "design: one_at_a_time\nbaseline: {manager: bridge, train.lr: 5e-3}\n"
        "axes: {manager: [bridge, static], train.lr: [5e-3, 2e-3]}"
    )
    assert told(tmp_path, text, "train.lr=1e-4") == (
        "command line: train.lr: would be wiped by axis 'train.lr': remove one of the two"
    )
    apart = text.replace(", train.lr: 5e-3}\n", "}\n")  # the other axis is varied from what `set` has
    assert labels(tmp_path, apart, "train.lr=1e-4")[0] == "bridge"


def test_what_an_axis_on_a_section_leaves_alone_may_be_set(tmp_path: Path) -> None:
    text = "axes: {record: [{layers: true, label: a}, {layers: false, label: b}]}"
    assert [row.config["record"]["tokens"] for row in rows(tmp_path, text, "record.tokens=false")] == [False, False]
    assert "record.layers: would be wiped by axis 'record'" in told(tmp_path, text, "record.layers=true")


def test_a_name_that_yaml_takes_for_a_number_is_quoted(tmp_path: Path) -> None:
    assert rename("name: old  # why\nseeds: 2", "1.10", tmp_path) == "name: '1.10'  # why\nseeds: 2"
    assert rename("name: old\nseeds: 2", "plain", tmp_path) == "name: plain\nseeds: 2"
    assert told(tmp_path, MANAGERS, "study.name=1e3") == (
        "command line: name: expected a text, found 1000.0: write it in quotes"
    )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("study.why=Question: {} Answer:", "study.why: is not YAML: expected <block end>, but found '<scalar>'; quote"),
        ("study.why=# 5", "study.why: # begins a comment: quote the value, study.why='\"…\"'"),
        ("study.why=Beat issue #5", "study.why: # begins a comment: quote the value"),
        ("set.train.lr=1e-4", "set.train.lr: settings go without `set`: write train.lr=…"),
        ("metrics.choose=val/loss", "metrics: is a key of the study: write study.metrics.choose=…"),
        ("init_from=a.safetensors", "init_from: no checkpoint file"),
        ("train=", "train: is empty"),
    ],
)
def test_a_wrong_override_is_told_with_its_key(tmp_path: Path, override: str, problem: str) -> None:
    assert told(tmp_path, MANAGERS, override).startswith(f"command line: {problem}")


def test_a_quoted_override_may_hold_anything(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path, MANAGERS), ['study.why="Is it #5: {}?"'])
    assert study.keys.why == "Is it #5: {}?"


@pytest.mark.parametrize("axis", ["[bridge, static]", "{values: [bridge, static]}"])
def test_an_override_adds_an_axis_however_another_is_written(tmp_path: Path, axis: str) -> None:
    added = "study.axes.manager.weight={values: [scalar, vector], when: {manager.name: static}}"
    found = labels(tmp_path, f"axes: {{manager: {axis}}}", added)
    assert found == ["bridge", "static · manager.weight scalar", "static · manager.weight vector"]


def test_overrides_name_values_of_a_zip_and_cells_of_a_parent_by_path(tmp_path: Path) -> None:
    text = "axes: {depth: {zip: {model.cross_layers: [1, 2], train.lr: [1e-3, 2e-3]}}, manager: [bridge, static]}"
    found = rows(tmp_path, text, "study.baseline.depth.model.cross_layers=1")
    assert [row.compare_to for row in found] == [None, 0, None, 2]
    path = write_study(tmp_path, MANAGERS)
    match = compose(path, ["study.init_from.match.manager.name=static"]).data["init_from"]["match"]
    assert match == {"manager.name": "static"}


def test_where_a_wrong_start_stands_is_told(tmp_path: Path) -> None:
    assert ": axes.init_from: no checkpoint file" in told(tmp_path, "axes: {init_from: [null, a.safetensors]}")
    assert ": init_from: no checkpoint file" in told(tmp_path, f"{MANAGERS}\ninit_from: a.safetensors")


def test_a_checkpoint_is_sought_beside_the_study_and_then_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    start = f"{MANAGERS}\ninit_from: a.safetensors"
    assert told(tmp_path, start).endswith(f"{tmp_path}/a.safetensors, nor {tmp_path}/work/a.safetensors")
    Path("a.safetensors").write_text("no weights")
    assert "no checkpoint file" not in told(tmp_path, start)


def test_conditions_name_two_towers_and_parts_of_nodes(tmp_path: Path) -> None:
    for condition in ("model.name: two_towers", "model: two_towers", "manager: {name: static}"):
        text = f"axes: {{manager: [static], train.lr: {{values: [1e-3, 1e-2], when: {{{condition}}}}}}}"
        assert labels(tmp_path, text) == ["static · lr 0.001", "static · lr 0.01"]


def test_values_of_a_node_are_labelled_as_others_are(tmp_path: Path) -> None:
    text = "axes: {manager: [bridge, {value: static, label: x}, {value: {name: static, weight: scalar}, label: y}]}"
    assert labels(tmp_path, text) == ["bridge", "x", "y"]
    assert rows(tmp_path, text)[2].config["manager"]["weight"] == "scalar"
    assert "axes.manager: expected a name" in told(tmp_path, "axes: {manager: [bridge, {value: 5, label: x}]}")
    zipped = "axes: {v: {zip: {manager: [bridge, {name: static, label: x}], train.lr: [1e-3, 2e-3]}}}"
    assert "axes.v.zip.manager: takes no `label`: name the values by `labels: […]`" in told(tmp_path, zipped)
