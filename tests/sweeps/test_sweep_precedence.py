"""A search overwrites no setting, and its conditions depend on what is searched before."""

from pathlib import Path

import pytest
from imagined import free, write_sweep

from mtlab.errors import UserError
from mtlab.sweeps.spec import read_sweep
from mtlab.sweeps.variants import PreparedSweep, prepare

LR = "train.lr: {float: [1e-4, 1e-1], log: true}"
NAMES = "manager.name: {choice: [static, adaptive]}"
OF_SCALAR = "train.lr: {float: [1e-4, 1e-1], when: {manager.weight: scalar}}"


def prepared(folder: Path, text: str, *overrides: str) -> PreparedSweep:
    return prepare(read_sweep(write_sweep(folder, text), overrides), free)


def told(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        prepared(folder, text, *overrides)
    return str(caught.value).partition(": ")[2]


def test_a_search_of_names_wipes_no_option_that_is_set_here(tmp_path: Path) -> None:
    text = f"set: {{manager: {{name: static, weight: scalar}}}}\nspace: {{{NAMES}}}"
    assert told(tmp_path, text) == "set.manager: is searched too (space.manager.name): remove one of the two"
    (tmp_path / "low.yaml").write_text("set: {manager: static}\n")
    path = write_sweep(tmp_path, f"space: {{{NAMES}}}")
    path.write_text(path.read_text().replace("base: imagined", "base: [imagined, low]"))
    with pytest.raises(UserError, match=r"command line: manager\.weight: is searched too \(space\.manager\.name\)"):
        prepare(read_sweep(path, ["manager.weight=scalar"]), free)
    models = "space: {model: {choice: [two_towers, {mlp_ratio: 2}]}}"
    assert prepared(tmp_path, models, "model.dropout=0.3").variants[0].cell.config["model"]["dropout"] == 0.3
    assert told(tmp_path, models, "model.mlp_ratio=4").startswith("model.mlp_ratio: is searched too (space.model)")


def test_a_condition_depends_on_names_that_are_searched_before(tmp_path: Path) -> None:
    (tmp_path / "low.yaml").write_text("set: {manager: {name: static, weight: scalar}}\n")

    def write(space: str) -> Path:
        path = write_sweep(tmp_path, f"space: {{{space}}}")
        path.write_text(path.read_text().replace("base: imagined", "base: [imagined, low]"))
        return path

    (variant,) = prepare(read_sweep(write(f"{NAMES}, {OF_SCALAR}")), free).variants
    assert variant.space[1].when == {"manager.weight": "scalar"}  # which an adaptive manager does not have
    with pytest.raises(UserError, match=r"space\.train\.lr: depends on manager\.name, which must stand before it"):
        prepare(read_sweep(write(f"{OF_SCALAR}, {NAMES}")), free)


def test_start_points_and_parameters_are_added_on_the_command_line(tmp_path: Path) -> None:
    changes = ("study.start_from.train.lr=1e-3", "study.space.model.cross_layers.int=[1, 2]")
    (variant,) = prepared(tmp_path, f"space: {{{LR}}}", *changes).variants
    assert [each.path for each in variant.space] == ["train.lr", "model.cross_layers"]
    assert variant.start_points == ({"train.lr": 1e-3},)
