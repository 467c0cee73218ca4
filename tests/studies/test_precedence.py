"""What is set here is kept in every cell, or the axis that would overwrite it is refused."""

from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab.errors import UserError
from mtlab.studies.expand import StudyRow, expand
from mtlab.studies.spec import read_study

STATIC = "set: {manager: static}\n"  # of a base


def rows(folder: Path, text: str, *overrides: str, base: str = "") -> tuple[StudyRow, ...]:
    path = write_study(folder, text)
    (folder / "low.yaml").write_text(base or "set: {}\n")
    path.write_text(path.read_text().replace("base: tiny", "base: [tiny, low]"))
    return expand(read_study(path, overrides))


def told(folder: Path, text: str, *overrides: str, base: str = "") -> str:
    with pytest.raises(UserError) as caught:
        rows(folder, text, *overrides, base=base)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


def test_the_name_of_a_model_alone_says_nothing_of_its_options(tmp_path: Path) -> None:
    for axis in (
        "model: [two_towers, {mlp_ratio: 2, label: two}]",
        "m: {zip: {model: [two_towers, two_towers], model.mlp_ratio: [1, 2]}}",
        "model.mlp_ratio: [1, 2], model: [two_towers]",
    ):
        found = rows(tmp_path, f"axes: {{{axis}}}", "model.dropout=0.3")
        shared = {"width": 16, "heads": 2, "cross_layers": 2, "dropout": 0.3}
        assert [row.config["model"]["mlp_ratio"] for row in found] == [1, 2]
        assert all(row.config["model"] | shared == row.config["model"] for row in found)


def test_a_list_in_place_of_an_axis_keeps_its_conditions(tmp_path: Path) -> None:
    text = "axes: {manager: [last, static], train.lr: {values: [1e-3, 2e-3], unless: {manager.name: last}}}"
    for given in ("study.axes.train.lr=[3e-3, 4e-3]", "study.axes.train.lr={values: [3e-3, 4e-3]}"):
        found = [(row.config["manager"]["name"], row.config["train"]["lr"]) for row in rows(tmp_path, text, given)]
        assert found[1:] == [("static", 3e-3), ("static", 4e-3)]
        assert [name for name, _ in found].count("last") == 1


@pytest.mark.parametrize(
    ("text", "overrides", "key", "axis"),
    [
        ("axes: {data.name: [shapes, layered]}", ["data.train=320"], "command line: data.train", "data.name"),
        ("set: {manager.weight: scalar}\nNAMES", [], "study.yaml:3: set.manager.weight", "manager.name"),
        ("set: {manager: {name: static, weight: scalar}}\nNAMES", [], "study.yaml:3: set.manager", "manager.name"),
        ("NAMES", ["manager.weight=scalar"], "command line: manager.weight", "manager.name"),
        (
            "set: {manager.weight: scalar}\naxes: {m: {zip: {train.lr: [1, 2], manager.name: [static, adaptive]}}}",
            [],
            "study.yaml:3: set.manager.weight",
            "m",
        ),
        (
            "set: {vision: {layers: [3]}}\naxes: {vision.name: [tiny_vision, blind]}",
            [],
            "study.yaml:3: set.vision.layers",
            "vision.name",
        ),
        (
            "axes: {model: [two_towers, {name: mllm, label: large}]}",
            ["model.width=32"],
            "command line: model.width",
            "model",
        ),
    ],
)
def test_an_axis_on_a_name_wipes_no_option_that_is_set_here(
    tmp_path: Path, text: str, overrides: list[str], key: str, axis: str
) -> None:
    text = text.replace("NAMES", "axes: {manager.name: [static, adaptive]}")
    told_of = told(tmp_path, text, *overrides, base=STATIC)
    assert told_of == f"{key}: would be wiped by axis {axis!r}: remove one of the two"


def test_options_of_a_base_are_those_of_its_node(tmp_path: Path) -> None:
    scalar = "set: {manager: {name: static, weight: scalar}}"
    found = rows(tmp_path, "axes: {manager.name: [static, adaptive]}", base=scalar)
    assert [row.config["manager"]["weight"] for row in found] == ["scalar", "vector"]
    same = rows(tmp_path, "axes: {manager.name: [static]}", "manager.weight=scalar", base=STATIC)
    assert [row.config["manager"]["weight"] for row in same] == ["scalar"]


def test_no_value_of_an_axis_on_a_section_overwrites_a_setting(tmp_path: Path) -> None:
    axes = "axes: {train: [{lr: 1e-3, batch: 4, label: small}, {lr: 1e-2, label: large}]}"
    problem = "train.batch: would be wiped by axis 'train': remove one of the two"
    assert told(tmp_path, axes, "train.batch=16") == f"command line: {problem}"
    assert told(tmp_path, f"set: {{train.batch: 16}}\n{axes}") == f"study.yaml:3: set.{problem}"
    assert [row.config["train"]["warmup"] for row in rows(tmp_path, axes, "train.warmup=0.2")] == [0.2, 0.2]
    lengths = axes.replace("batch: 4", "length: {epochs: 1}")
    assert "train.length: would be wiped" in told(tmp_path, lengths, "train.length.steps=9")


def test_an_override_that_names_a_node_comes_before_its_options_however_it_is_written(tmp_path: Path) -> None:
    def manager(*overrides: str) -> tuple[str, ...]:
        (row,) = rows(tmp_path, "set: {manager: bridge}", *overrides)
        return row.config["manager"]["name"], row.config["manager"]["weight"]

    assert manager("manager.weight=scalar", "manager={name: static}") == ("static", "scalar")
    assert manager("manager={name: static}", "manager.weight=scalar") == ("static", "scalar")
    later = ("manager.weight=scalar", "manager={name: static, weight: vector}")
    assert manager(*later) == ("static", "vector")  # the later of two that say it
